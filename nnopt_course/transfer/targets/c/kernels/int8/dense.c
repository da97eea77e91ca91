/* Four sums at once, so that every x is read once for four weights. */
static void four_rows(const net_t *x, const net_t *w, int inputs, int32_t *sums)
{
    const net_t *w1 = w + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int i = 0; i < inputs; i++) {
        s0 += x[i] * w[i];
        s1 += x[i] * w1[i];
        s2 += x[i] * w2[i];
        s3 += x[i] * w3[i];
    }
    sums[0] += s0;
    sums[1] += s1;
    sums[2] += s2;
    sums[3] += s3;
}

static int32_t one_row(const net_t *x, const net_t *w, int inputs)
{
    int32_t sum = 0;
    for (int i = 0; i < inputs; i++)
        sum += x[i] * w[i];
    return sum;
}

/* A dense layer, sixteen outputs after the other. */
static void dense(const rows_t *layer, const net_t *x, net_t *restrict out)
{
    int32_t sums[16];
    for (int first = 0; first < layer->outputs; first += 16) {
        int count = layer->outputs - first < 16 ? layer->outputs - first : 16, o = 0;
        const net_t *w = layer->weights + first * layer->inputs;
        for (int i = 0; i < count; i++)
            sums[i] = layer->bias[first + i];
        for (; o + 4 <= count; o += 4)
            four_rows(x, w + o * layer->inputs, layer->inputs, sums + o);
        for (; o < count; o++)
            sums[o] += one_row(x, w + o * layer->inputs, layer->inputs);
        requantize(&layer->stage, first, sums, count, out + first);
    }
}
