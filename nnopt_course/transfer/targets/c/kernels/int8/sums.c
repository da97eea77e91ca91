/* Σ x w of one to four rows of weights at once, so that every x is read once for four of them. All of
   a network's time is spent here. AT_ONCE sums are then rounded together. */
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

enum { AT_ONCE = 32 };

/* Sixteen differences, added up to eight. */
static inline __m256i halves(__m512i sums, __m512i offsets)
{
    const __m512i all = _mm512_sub_epi32(sums, offsets);
    return _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
}

/* By hand: an instruction that multiplies 64 pairs of bytes and adds them up, and that no compiler
   finds in the loop below. It wants one factor without a sign: Σ x w = Σ (x + 128) w − Σ 128 w. */
static inline void add_rows(int rows, const net_t *x, const net_t *w, int inputs, int32_t *sums)
{
    const __m512i offset = _mm512_set1_epi8(-128);
    __m512i all[4], offsets[4];
    for (int r = 0; r < 4; r++)
        all[r] = offsets[r] = _mm512_setzero_si512();
    for (int i = 0; i < inputs; i += 64) {
        int rest = inputs - i;
        __mmask64 there = rest >= 64 ? ~0ULL : ((uint64_t)1 << rest) - 1;
        __m512i bytes = _mm512_xor_si512(_mm512_maskz_loadu_epi8(there, x + i), offset);
        for (int r = 0; r < rows; r++) {
            __m512i weights = _mm512_maskz_loadu_epi8(there, w + r * inputs + i);
            all[r] = _mm512_dpbusd_epi32(all[r], bytes, weights);
            offsets[r] = _mm512_dpbusd_epi32(offsets[r], offset, weights);
        }
    }
    /* Neighbors are added, of all four rows at once, until one sum a row is left. */
    __m256i pairs = _mm256_hadd_epi32(
        _mm256_hadd_epi32(halves(all[0], offsets[0]), halves(all[1], offsets[1])),
        _mm256_hadd_epi32(halves(all[2], offsets[2]), halves(all[3], offsets[3])));
    int32_t found[4];
    _mm_storeu_si128((__m128i *)found, _mm_add_epi32(_mm256_castsi256_si128(pairs),
                                                     _mm256_extracti128_si256(pairs, 1)));
    for (int r = 0; r < rows; r++)
        sums[r] += found[r];
}
#else
enum { AT_ONCE = 16 };

static inline void add_rows(int rows, const net_t *x, const net_t *w, int inputs, int32_t *sums)
{
    int32_t s[4] = {0, 0, 0, 0};
    for (int i = 0; i < inputs; i++)
        for (int r = 0; r < rows; r++)
            s[r] += x[i] * w[r * inputs + i];
    for (int r = 0; r < rows; r++)
        sums[r] += s[r];
}
#endif
