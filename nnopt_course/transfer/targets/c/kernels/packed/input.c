/* A reader of packed networks, see the book's page "The file format". It takes no memory but what
   it is given, and refuses damaged files. First, bytes, numbers and memory. */
#include <stdint.h>

enum { MOST = 1 << 26 };        /* of everything */
enum { ABSENT, ZEROS, STEP, STEPS, TABLE, SPARSE, RAW };

typedef struct {                /* an array of the network, as a matrix */
    int rows, columns, above, way, half, count;
    const uint8_t *floats;      /* `count` of them, in the file */
    PACKED_INT *integers;       /* if the way is STEP, STEPS, TABLE or SPARSE */
} packed_t;

typedef struct {
    const uint8_t *at, *end;    /* what has not been read */
    uint8_t *memory;            /* zeros; its first `room` bytes are free */
    uint32_t room, range, code; /* the last two are those of arithmetic coding */
    int bad, beyond;            /* how many bytes were read after the end */
} reader_t;

static int64_t need(reader_t *r, int fine, int64_t value)
{
    r->bad |= !fine;
    return r->bad ? 0 : value;
}

static void *take(reader_t *r, int64_t bytes)
{
    bytes = (bytes + 7) / 8 * 8;
    r->room -= (uint32_t)need(r, bytes <= r->room, bytes);
    return r->memory + r->room;
}

static int byte(reader_t *r, int beyond)        /* After the end, so many zeros are allowed. */
{
    return r->at < r->end ? *r->at++ : (int)need(r, r->beyond++ < beyond, 0);
}

static int number(reader_t *r)
{
    int64_t found = 0;
    for (int i = 0, next = 128; next & 128 && i < 35; i += 7) {
        next = byte(r, 0);
        found |= need(r, (next || !i) && (next < 128 || i < 28), next & 127) << i;
    }
    return (int)need(r, found <= INT32_MAX, found);
}
