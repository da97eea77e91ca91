/* A dense layer. The loop that counts: all of a network's time is spent in its products. */
static void dense(const rows_t *layer, const net_t *x, net_t *out)
{
    const net_t *w = layer->weights;
    for (int o = 0; o < layer->outputs; o++, w += layer->inputs) {
        int32_t sum = layer->bias[o];
        for (int i = 0; i < layer->inputs; i++)
            sum += x[i] * w[i];
        out[o] = requantize(&layer->stage, o, sum);
    }
}
