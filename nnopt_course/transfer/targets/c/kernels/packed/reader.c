/* Reads the arrays of a file, kernel and bias of each layer after the other, and tells how many
   there are; -1 if it is damaged, or needs more memory than the bytes that it is given. These are
   zeros, and begin at a multiple of 8. */
static int packed_read(const uint8_t *file, uint32_t size, packed_t *a, int most, void *memory,
                       uint32_t bytes)
{
    uint32_t crc = ~0u;
    for (uint64_t i = 0; i < 8 * (uint64_t)size; i++)
        crc = (i % 8 ? crc : crc ^ file[i / 8]), crc = crc >> 1 ^ (0xedb88320 & (0 - (crc & 1)));
    if (size < 9 || crc != 0xdebb20e3 || file[0] != 'N' || file[1] != 'N' || file[2] != 'O'
        || (file[3] & 223) != 1 + 16 * CODER)
        return -1;
    reader_t r = {file + 4, file + size - 4, memory, bytes / 8 * 8, 1, 0, 0, 0};
    int count = number(&r);
    need(&r, count <= most && count % 2 == 0, 0);
    for (int i = 0; i < count && !r.bad; i++) {
        int rows = i % 2 ? 1 : number(&r), columns = i % 2 ? a[i - 1].columns : number(&r);
        int above = i % 2 ? 0 : number(&r), code = number(&r);
        int64_t entries = (int64_t)rows * columns, floats = code / 16 * (code & 8 ? 2 : 4);
        need(&r, entries > 0 && entries <= MOST && above <= rows && floats <= r.end - r.at, 0);
        a[i] = (packed_t){rows, columns, above, code & 7, code >> 3 & 1, code / 16, r.at, 0};
        r.at += need(&r, 1, floats);
        if (a[i].way >= STEP && a[i].way <= SPARSE)
            a[i].integers = take(&r, entries * (int)sizeof *a->integers);
    }
    int structure = number(&r);         /* what the layers are, which is not needed here */
    r.at += need(&r, structure <= r.end - r.at, structure);
    read_integers(&r, a, need(&r, 1, count));
    return need(&r, r.at == r.end, 1) ? count : -1;
}
