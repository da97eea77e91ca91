/* Dense layers of packed weights: integers times a step, or times a step for each output. The rows
   of an image are channel by channel in a packed file, and pixel by pixel in what a layer reads. */
typedef struct {
    int inputs, outputs, channels;
    const packed_t *kernel, *bias;
} rows_t;

static float packed_float(const packed_t *a, int i)
{
    if (i >= a->count)      /* as a table or a mask has it in a file that was made to do harm */
        return 0;
    const uint8_t *b = a->floats + (a->half ? 2 : 4) * i;
    union { uint32_t bits; float value; } x;
    x.bits = b[0] | (uint32_t)b[1] << 8;
    if (!a->half) {
        x.bits |= (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        return x.value;
    }
    x.bits = (x.bits & 0x7fff) << 13;       /* The exponent is too small by 112 then. */
    x.value *= 5192296858534827628530496329220096.0f;
    return b[1] & 128 ? -x.value : x.value;
}

static float packed_value(const packed_t *a, int i)     /* of a vector */
{
    int k = a->integers ? a->integers[i] : 0, before = 0;
    switch (a->way) {
    case STEP:
        return k * packed_float(a, 0);
    case STEPS:
        return k * packed_float(a, i);
    case TABLE:
        for (int j = 0; j < a->count && k > 0 && packed_float(a, j) < 0; j++)
            before++;
        return k ? packed_float(a, k < 0 ? -k - 1 : before + k - 1) : 0;
    case SPARSE:
        for (int j = 0; j < i; j++)
            before += a->integers[j] != 0;
        return k ? packed_float(a, before) : 0;
    case RAW:
        return packed_float(a, i);
    }
    return 0;
}

static void dense(const rows_t *layer, const net_t *x, net_t *restrict out)
{
    const packed_t *kernel = layer->kernel;
    const PACKED_INT *w = kernel->integers;
    int pixels = layer->inputs / layer->channels;
    for (int o = 0; o < layer->outputs; o++)
        out[o] = 0;
    for (int i = 0; i < layer->inputs && w; i++, w += layer->outputs) {
        float input = x[i % pixels * layer->channels + i / pixels];
        if (input != 0)
            for (int o = 0; o < layer->outputs; o++)
                out[o] += input * w[o];
    }
    for (int o = 0; o < layer->outputs; o++)
        out[o] = out[o] * packed_float(kernel, kernel->way == STEPS ? o : 0)
                 + packed_value(layer->bias, o);
}
