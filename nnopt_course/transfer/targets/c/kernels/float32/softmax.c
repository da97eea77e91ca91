/* Probabilities over the last axis. */
static void softmax(int pixels, int channels, const net_t *x, net_t *out)
{
    for (int p = 0; p < pixels; p++, x += channels, out += channels) {
        float largest = x[0], sum = 0;
        for (int c = 1; c < channels; c++)
            if (x[c] > largest)
                largest = x[c];
        for (int c = 0; c < channels; c++)
            sum += out[c] = exponential(x[c] - largest);
        for (int c = 0; c < channels; c++)
            out[c] /= sum;
    }
}
