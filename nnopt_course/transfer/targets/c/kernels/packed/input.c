/* A reader of packed networks, see the book's page "The file format". It takes no memory but what
   it is given, and refuses damaged files. First, bytes, numbers and memory. */
#include <stdint.h>

#ifndef PACKED_INT
#define PACKED_INT int32_t      /* int8_t saves memory; larger integers are refused then */
#endif
#if defined __GNUC__            /* Small is better than fast: a file is read once. */
#define ONCE __attribute__((noinline))
#else
#define ONCE
#endif
enum { MOST = 1 << 26 };        /* of everything */

enum { ABSENT, ZEROS, STEP, STEPS, TABLE, SPARSE, RAW };

typedef struct {                /* An array of the network, as a matrix. */
    int rows, columns, channels, above, way, half, negative, count;
    const uint8_t *floats;      /* `count` of them, in the file */
    PACKED_INT *integers;       /* if the way is STEP, STEPS, TABLE or SPARSE */
} packed_t;

typedef struct {
    const uint8_t *at, *end;    /* what has not been read */
    uint8_t *memory;            /* what has not been used */
    uint32_t room, low, high, code;
    int bad, beyond;
} reader_t;

static ONCE int64_t need(reader_t *r, int fine, int64_t value)
{
    r->bad |= !fine;
    return r->bad ? 0 : value;
}

static void *take(reader_t *r, int64_t count, int size)     /* zeroed memory */
{
    int64_t bytes = need(r, count * size <= (int64_t)r->room - 7, (count * size + 7) / 8 * 8);
    uint8_t *found = r->memory;
    for (int64_t i = 0; i < bytes; i++)
        *r->memory++ = 0;
    r->room -= (uint32_t)bytes;
    return found;
}

static int byte(reader_t *r) { return need(r, r->at < r->end, 1) ? *r->at++ : 0; }

static ONCE int number(reader_t *r)      /* None needs to be larger than MOST. */
{
    int64_t found = 0;
    for (int i = 0, next = 128; next & 128; i += 7) {
        next = byte(r);
        found |= need(r, i < 35 && (next || !i), next & 127) << i;
    }
    return (int)need(r, found <= MOST, found);
}
