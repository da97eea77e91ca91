/* A dense layer, sixteen outputs after the other. */
static void dense(const rows_t *layer, const net_t *x, net_t *restrict out)
{
    int32_t sums[16];
    const net_t *w = layer->weights;
    for (int first = 0; first < layer->outputs; first += 16) {
        int count = layer->outputs - first < 16 ? layer->outputs - first : 16, o = 0;
        for (int i = 0; i < count; i++)
            sums[i] = layer->bias[first + i];
        for (; o + 4 <= count; o += 4, w += 4 * layer->inputs)
            add_rows(4, x, w, layer->inputs, sums + o);
        for (; o < count; o++, w += layer->inputs)
            add_rows(1, x, w, layer->inputs, sums + o);
        requantize(&layer->stage, first, sums, count, out + first);
    }
}
