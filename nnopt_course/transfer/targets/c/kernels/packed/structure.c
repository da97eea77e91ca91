/* The structure: nodes, each with the shape of what it makes. */
typedef struct { int kind, input, owner, axes, shape[7], set[8]; } node_t;

static int64_t size_of(reader_t *r, const node_t *n)
{
    int64_t size = 1;
    for (int i = 0; i < n->axes; i++)
        size = need(r, n->shape[i] > 0 && size * n->shape[i] <= MOST, size * n->shape[i]);
    return size;
}

static void read_window(reader_t *r, int *set, int strides)     /* size, strides, dilation, same */
{
    int code = number(r);
    for (int i = 0; i < 2; i++)
        set[i] = code & 15 ? code & 15 : number(r);
    for (int i = 2; i < 6; i++)
        set[i] = code & (i < 4 ? 32 : 64) ? number(r) : i < 4 && !strides ? set[i - 2] : 1;
    set[6] = code & 16;
    need(r, code < 128, 0);
}

/* How often a window fits. */
static int slide(reader_t *r, const int *set, int same, int64_t length)
{
    int64_t stride = set[2], extent = (set[0] - 1) * (int64_t)set[4] + 1;
    if (!need(r, set[0] > 0 && stride > 0 && set[4] > 0, 1))
        return 0;
    if (same)
        return (int)((length + stride - 1) / stride);
    return (int)need(r, length >= extent, (length - extent) / stride + 1);
}

static void read_arrays(reader_t *r, const node_t *nodes, const node_t *n, packed_t *a)
{
    const int kind = n->kind, *set = n->set, *in = nodes[n->input].shape, ways = byte(r);
    int64_t area = need(r, kind == 1 || kind == 4 || (int64_t)set[0] * set[1] <= MOST, 1);
    int64_t window = area * set[0] * set[1] * (kind == 2 ? in[2] : 1);
    int64_t rows = kind == 1 ? in[0] : kind == 4 ? 1 : window, columns = n->shape[n->axes - 1];
    int j = n->input;
    need(r, rows > 0 && columns > 0 && columns <= MOST && rows * columns <= MOST, 0);
    for (int k = 0; k < 2; k++)
        a[k] = (packed_t){(int)(k ? 1 : rows), (int)columns, 1, 0, ways >> 4 * k & 7,
                          ways >> (4 * k + 3) & 1, 0, 0, 0, 0};
    if (kind == 2 || kind == 3)
        a->channels = kind == 2 ? in[2] : 1, a->above = set[1];
    if (kind != 1)
        return;
    while (j && (nodes[j].kind == 0 || nodes[j].kind == 4))
        j = nodes[j].input;
    in = nodes[nodes[j].input].shape;
    if (j == 0)
        a->above = -1;        /* the line, which is told later */
    else if (nodes[j].kind == 11 && nodes[nodes[j].input].axes == 3)
        a->channels = in[2], a->above = in[1];
}

/* Reads node i and its arrays, for which there is so much space; tells how many these are. */
static int read_node(reader_t *r, node_t *nodes, int i, packed_t *a, int space)
{
    node_t *n = nodes + i;
    int code = number(r), kind = code & 15, owner, *set = n->set, *shape = n->shape;
    int joins = kind == 8 || kind == 9, has = kind > 0 && kind < 5;
    int slides = kind == 2 || kind == 3 || kind == 5 || kind == 6;
    int64_t total = 0;
    for (int more = (code >> 4 & 7) == 3; more;)        /* the limit of a ReLU */
        more = byte(r) & 128;
    for (int k = kind == 9 ? number(r) : 1 + (kind == 8); k > 0 && !r->bad; k--) {
        int back = joins || code & 128 ? number(r) : 0;
        if (!need(r, back < i, 1))
            return 0;
        *n = nodes[i - 1 - back];
        n->input = i - 1 - back;
        total = need(r, total <= MOST, total + size_of(r, n));
    }
    n->kind = kind;
    n->owner = owner = has && code & 128 ? number(r) : 0;
    need(r, code < 256 && kind < 12 && total && owner < i, 0);
    need(r, n->axes == 3 || !(slides || kind == 7 || kind == 10), 0);
    if (!need(r, n->axes == 1 || kind != 1, 1))
        return 0;
    if (owner)
        for (int k = 0; k < 8; k++)
            set[k] = nodes[owner].set[k];
    else if (slides)
        read_window(r, set, kind < 4);
    for (int k = 0; k < 4 && kind == 10; k++)
        set[k] = number(r);
    if (!owner && ((has && kind != 4) || kind == 7 || kind == 9 || kind == 11))
        set[7] = number(r);
    for (int k = 0; k < 2 && slides; k++)
        shape[k] = slide(r, set + k, set[6], shape[k]);
    if (has && kind < 4) {
        int64_t outputs = (int64_t)set[7] * (kind == 3 ? shape[2] : 1);
        shape[n->axes - 1] = (int)need(r, outputs <= MOST, outputs);
    }
    if (kind == 7) {
        shape[0] = set[7] ? 1 : shape[2], shape[1] = 1;
        n->axes = set[7] ? 3 : 1;
    }
    if (kind == 9 && need(r, set[7] > 0 && set[7] <= n->axes, 1))
        shape[set[7] - 1] = (int)(total / (size_of(r, n) / shape[set[7] - 1]));
    if (kind == 10)
        shape[0] += set[0] + set[1], shape[1] += set[2] + set[3];
    if (kind == 11 && need(r, set[7] < 8, 1)) {
        n->axes = set[7] ? set[7] : 1, shape[0] = (int)total;
        for (int k = 0; k < set[7]; k++)
            shape[k] = number(r);
        need(r, size_of(r, n) == total, 0);
    }
    if (!size_of(r, n) || !has || owner || !need(r, space >= 2, 1))
        return 0;
    read_arrays(r, nodes, n, a);
    return 2;
}
