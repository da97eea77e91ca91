/* One factor and one summand a channel: a batch normalization after training. */
static void affine(const net_t *scale, const net_t *shift, int pixels, int channels, const net_t *x,
                   net_t *out)
{
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c++)
            out[p * channels + c] = x[p * channels + c] * scale[c] + shift[c];
}
