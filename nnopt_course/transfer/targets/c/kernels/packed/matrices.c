/* The questions: a matrix. */
typedef struct {
    const packed_t *a;
    int r, width, *columns, *filled, *counts;
    uint8_t *tied;
    int around, place[25], near[25];    /* the rows around row r */
} matrix_t;

static int cut(int x) { return x < -7 ? -7 : x > 7 ? 7 : x; }
static int sign(int x) { return (x > 0) - (x < 0); }
static int least(int64_t a, int b) { return a < b ? (int)a : b; }

static int length(int64_t x)
{
    int n = 0;
    for (uint64_t left = (uint64_t)(x < 0 ? -x : x); left; left >>= 1)
        n++;
    return n;
}

static int lean(int64_t x) { return least(length(x), 15) + 32 * (x < 0); }

static int entry(const matrix_t *x, int r, int c)
{
    return r < 0 ? 0 : cut(x->a->integers[r * x->a->columns + x->columns[c]]);
}

/* Where the rows around this one are, and how near. */
static void find_around(matrix_t *x)
{
    x->around = 0;
    for (int k = 0; k < 28 && x->a->above; k++) {
        int i = k / 7, j = k % 7 - 3, far = i > j && i > -j ? i : j < 0 ? -j : j;
        int64_t back = (int64_t)i * x->a->above - j;
        if (back > 0 && back <= x->r) {
            x->place[x->around] = (int)(x->r - back) * x->a->columns;
            x->near[x->around++] = 4 - far;
        }
    }
}

/* How many of them are not zero further out, and weighted sums with and without signs. */
static ONCE void look_around(const matrix_t *x, int c, int *wide, int *sum, int *sizes)
{
    const PACKED_INT *column = x->a->integers + x->columns[c];
    *wide = *sum = *sizes = 0;
    for (int k = 0; k < x->around; k++) {
        int v = column[x->place[k]], near = x->near[k];
        if (v == 0)
            continue;
        v = cut(v) * near;
        *wide += near < 3;
        *sum += v;
        *sizes += v < 0 ? -v : v;
    }
}

/* A column's rows from one to this one in steps, each with a weight: their signs, or whether they
   are not zero. */
static ONCE int64_t compare(const matrix_t *x, int from, int step, int c, const int32_t *weights,
                            int signs)
{
    const PACKED_INT *column = x->a->integers + x->columns[c];
    int64_t sum = 0;
    for (int i = from; i < x->r; i += step, weights++) {
        int v = column[i * x->a->columns];
        if (v)
            sum += signs && v < 0 ? -*weights : *weights;
    }
    return sum;
}

static int flag(const uint8_t *flags, int i, int64_t back)
{
    return back > 0 && back <= i && flags[i - back];
}

static int row_has(reader_t *r, model_t *m, const uint8_t *flags, int i, int above)
{
    const int64_t u = above, back[6] = {1, u, u ? u + 1 : 0, u - 1, 2, 2 * u};
    int first = 64 * !!u, second = 32 * !!u;
    uint32_t unused = 0;
    for (int k = 0; k < 6; k++)
        first += flag(flags, i, back[k]) << k;
    for (int k = 0; k < 15; k++)
        if (u ? k > 4 || k < 2 : k < 8)
            second += flag(flags, i, u ? k / 5 * u - (k % 5 - 2) : k + 1);
    return answer(r, m, m->of_flags, 13,
                  (counter_t *[]){m->flags + first, m->flags + 130 + second, 0}, &unused);
}

static int magnitude(reader_t *r, model_t *m, const matrix_t *x, int c, int negative, int last)
{
    int wide, sum, sizes, b = 0, single = x->a->rows == 1;
    int u = x->a->above ? x->r - x->a->above : -1;
    int near = 32 * length(entry(x, x->r - 1, c)) + 256 * length(entry(x, u, c));
    uint32_t unused = 0, found = 1;
    look_around(x, c, &wide, &sum, &sizes);
    sizes = least(length(sizes), 15);
    while (b < 30 && answer(r, m, m->of_tops, 14, (counter_t *[]){
               m->tops + b + 32 * single, m->by_sizes + b + near,
               m->by_weight + b + 32 * sizes + 512 * negative + 1024 * single,
               m->by_last + b + 32 * least(last, 7) + 256 * single, 0}, &unused))
        b++;
    for (int i = 0; i < b; i++) {
        int kind = least(b, 7) + 8 * least(i, 7) + 64 * single;
        found = 2 * found + (uint32_t)answer(r, m, m->of_lower, 14, (counter_t *[]){
            m->lower + kind, m->by_value + b + 32 * least(found, 8) + 512 * single,
            m->lower_by_weight + kind + 128 * sizes, 0}, &unused);
    }
    return (int)found;
}

static void read_row(reader_t *r, model_t *m, matrix_t *x, int ordered, const packed_t *before,
                     int *last)
{
    const packed_t *a = x->a;
    int n = x->r, single = a->rows == 1, image = a->above > 0, was = 0;
    int u = image ? n - a->above : -1;
    int start = n > 256 ? n - 256 : 0, fits = before && a->rows % before->columns == 0 && !single;
    int pixels = fits ? a->rows / before->columns : 1, g = n / pixels;
    int first = g > 256 ? g - 256 : 0, from = first * pixels + n % pixels;
    int32_t shared[256], alike[256], told[256];
    int around = (n ? x->counts[n - 1] : 0) + (u >= 0 ? x->counts[u] : 0), bit = 0;
    uint32_t expected = 0, unused = 0;
    int near[6] = {n - 1, n - 2, u, u - 1, u + 1 < n - 1 ? u + 1 : -1, image ? u - a->above : -1};
    find_around(x);
    for (int i = 0; i < 256; i++)
        shared[i] = alike[i] = told[i] = 0;
    for (int q = 0; fits && q < before->rows; q++) {
        const PACKED_INT *row = before->integers + (int64_t)q * before->columns;
        for (int i = first; i < g && row[g]; i++) {
            shared[i - first] += row[i] != 0;
            alike[i - first] += sign(row[g]) * sign(row[i]);
        }
    }
    for (int c = 0; c < x->width; c++) {
        int pattern = 64 * single, wide, sum, sizes, fresh = ordered && !x->filled[c];
        if (x->tied[c] && !bit)
            continue;
        for (int k = 0; k < (image ? 6 : 2); k++)
            pattern += (entry(x, near[k], c) != 0) << k;
        look_around(x, c, &wide, &sum, &sizes);
        bit = answer(r, m, m->of_places[(single ? 1 : 2 * image) + 3 * fresh], 16, (counter_t *[]){
            m->places + c, m->near + pattern,
            m->filled + least(length(x->filled[c]), 7) + 8 * least(length(around), 7),
            m->shown + bit + 2 * least(x->counts[n], 15) + 32 * least(length(expected >> 14), 15),
            m->alike + (fits ? least(length(compare(x, from, pixels, c, shared, 0)), 14) + 1 : 0),
            m->wide + least(wide, 15) + 16 * image, 0}, &expected);
        a->integers[n * a->columns + x->columns[c]] = (PACKED_INT)bit;
        x->counts[n] += bit;
    }
    for (int c = 0; c < x->width; c++) {
        PACKED_INT *own = a->integers + n * a->columns + x->columns[c];
        int wide, sum, sizes, negative, left = sign(entry(x, n - 1, c)), up = sign(entry(x, u, c));
        x->tied[c] &= was == (*own != 0);
        was = *own != 0;
        if (!was)
            continue;
        x->filled[c]++;
        look_around(x, c, &wide, &sum, &sizes);
        negative = answer(r, m, m->of_signs, 12, (counter_t *[]){
            m->pair + (left < 0 ? 2 : left) + 3 * (up < 0 ? 2 : up), m->signs + c,
            m->lean[0] + lean(sum), m->lean[1] + lean(compare(x, start, 1, c, told, 1)),
            m->lean[2] + (fits ? lean(compare(x, from, pixels, c, alike, 1)) : 0), 0}, &unused);
        for (int i = start; i < n; i++)
            told[i - start] += (negative ? -1 : 1) * sign(own[(i - n) * a->columns]);
        *last = magnitude(r, m, x, c, negative, *last);
        *own = (PACKED_INT)(negative ? -*last : *last);
        need(r, *own == (negative ? -*last : *last), 0);
    }
}

static void read_matrix(reader_t *r, model_t *m, const packed_t *a, const packed_t **before)
{
    reader_t start = *r;
    uint8_t *rows = take(r, a->rows, 1);
    matrix_t x = {a, 0, 0, take(r, a->columns, 4), take(r, a->columns, 4), take(r, a->rows, 4),
                  take(r, a->columns, 1), 0, {0}, {0}};
    int ordered = 0, last = 0;
    uint32_t unused = 0;
    for (int c = 0, f = 1; c < a->columns && !r->bad; c++) {
        if (a->rows > 1)
            f = answer(r, m, m->of_flags, 13,
                       (counter_t *[]){m->flags + 128 + f, m->flags + 194 + f, 0}, &unused);
        m->places[c] = m->signs[c] = (counter_t){{0, 0}};
        if (f)
            x.columns[x.width++] = c;
    }
    if (a->rows > 1 && x.width)
        ordered = decode(r, 32768);
    for (int c = 1; c < x.width && !r->bad; c++)
        x.tied[c] = (uint8_t)ordered;
    for (int i = 0; i < a->rows && x.width && !r->bad; i++)
        rows[i] = (uint8_t)(a->rows == 1 || row_has(r, m, rows, i, a->above));
    for (; x.r < a->rows && !r->bad; x.r++)
        if (rows[x.r])
            read_row(r, m, &x, ordered, *before, &last);
    if (a->rows > 1)
        *before = a;
    r->memory = start.memory, r->room = start.room;
}
