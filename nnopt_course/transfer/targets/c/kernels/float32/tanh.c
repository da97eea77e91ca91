/* The hyperbolic tangent, from exp(−2|x|). */
static void hyperbolic_tangent(int count, const net_t *x, net_t *out)
{
    for (int i = 0; i < count; i++) {
        float small = exponential(x[i] < 0 ? 2 * x[i] : -2 * x[i]);
        out[i] = (x[i] < 0 ? small - 1 : 1 - small) / (1 + small);
    }
}
