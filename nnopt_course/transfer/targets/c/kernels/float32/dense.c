/* A dense layer. */
static void dense(const rows_t *layer, const net_t *x, net_t *restrict out)
{
    const net_t *w = layer->weights;
    for (int o = 0; o < layer->outputs; o++)
        out[o] = layer->bias[o];
    for (int i = 0; i < layer->inputs; i++, w += layer->outputs)
        for (int o = 0; o < layer->outputs; o++)
            out[o] += x[i] * w[o];
}
