/* A dense layer, some outputs after the others. */
static void dense(const rows_t *layer, const net_t *x, net_t *restrict out)
{
    int32_t sums[AT_ONCE];
    const net_t *w = layer->weights;
    for (int first = 0; first < layer->outputs; first += AT_ONCE) {
        int count = layer->outputs - first, o = 0;
        if (count > AT_ONCE)
            count = AT_ONCE;
        for (int i = 0; i < count; i++)
            sums[i] = layer->bias[first + i];
        for (; o + 4 <= count; o += 4, w += 4 * layer->inputs)
            add_rows(4, x, w, layer->inputs, sums + o);
        for (; o < count; o++, w += layer->inputs)
            add_rows(1, x, w, layer->inputs, sums + o);
        requantize(&layer->stage, first, sums, count, out + first);
    }
}
