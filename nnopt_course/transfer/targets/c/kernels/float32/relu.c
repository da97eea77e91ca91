/* Negative numbers become 0, and those above the limit the limit. */
static void relu(float limit, int count, const net_t *x, net_t *out)
{
    for (int i = 0; i < count; i++)
        out[i] = x[i] < 0 ? 0 : x[i] > limit ? limit : x[i];
}
