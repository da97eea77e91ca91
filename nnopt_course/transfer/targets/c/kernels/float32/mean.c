/* The mean of each channel over the whole image. */
static void mean(int pixels, int channels, const net_t *image, net_t *out)
{
    for (int c = 0; c < channels; c++) {
        float sum = 0;
        for (int p = 0; p < pixels; p++)
            sum += image[p * channels + c];
        out[c] = sum / (float)pixels;
    }
}
