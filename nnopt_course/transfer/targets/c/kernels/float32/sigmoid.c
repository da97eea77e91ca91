/* 1 / (1 + exp(−x)), without overflow. */
static void sigmoid(int count, const net_t *x, net_t *out)
{
    for (int i = 0; i < count; i++) {
        float small = exponential(x[i] < 0 ? x[i] : -x[i]);
        out[i] = (x[i] < 0 ? small : 1) / (1 + small);
    }
}
