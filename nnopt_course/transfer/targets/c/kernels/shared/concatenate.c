/* One branch's part of a concatenation: `count` runs of `length` numbers, `stride` apart. */
static void concatenate(const net_t *branch, int count, int length, int stride, net_t *out)
{
    for (int n = 0; n < count; n++)
        for (int i = 0; i < length; i++)
            out[n * stride + i] = branch[n * length + i];
}
