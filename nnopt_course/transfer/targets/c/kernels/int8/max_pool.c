/* The largest of each patch. */
static void max_pool(const window_t *w, int low, int high, const net_t *image, net_t *restrict out)
{
    const int channels = w->channels;
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++, out += channels) {
            for (int c = 0; c < channels; c++)
                out[c] = (net_t)low;
            for (int i = 0; i < w->rows; i++)
                for (int j = 0; j < w->columns; j++) {
                    const net_t *from = pixel(w, image, y, x, i, j);
                    for (int c = 0; from && c < channels; c++) {
                        net_t value = from[c] > high ? (net_t)high : from[c];
                        out[c] = value > out[c] ? value : out[c];
                    }
                }
        }
}
