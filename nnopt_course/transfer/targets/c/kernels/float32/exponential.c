/* exp(x) without a library: x = n ln 2 + r, exp(x) = 2^n exp(r) with |r| ≤ ln(2) / 2, where a Taylor
   polynomial of degree 7 is exact to float32. 2^n is a float with n in its exponent. */
static float exponential(float x)
{
    if (x != x)     /* NaN has no whole number beside it. */
        return x;
    if (x < -87.0f)
        return 0;
    if (x > 88.0f)
        x = 88.0f;
    int n = (int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    float r = (x - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    float power = 1;
    for (int k = 7; k > 0; k--)
        power = 1 + power * r / (float)k;
    union { uint32_t bits; float value; } two_to_n = { (uint32_t)(n + 127) << 23 };
    return power * two_to_n.value;
}
