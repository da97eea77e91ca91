/* The mean of each channel over the whole image; the division is in the multiplier. */
static void mean(const stage_t *stage, int pixels, int channels, int zero_point,
                 const net_t *image, net_t *out)
{
    for (int c = 0; c < channels; c++) {
        int32_t sum = 0;
        for (int p = 0; p < pixels; p++)
            sum += image[p * channels + c] - zero_point;
        requantize(stage, c, &sum, 1, out + c);
    }
}
