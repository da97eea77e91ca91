/* The largest of each patch. */
static void max_pool(const window_t *w, int low, int high, const net_t *image, net_t *restrict out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++, out += w->channels) {
            for (int c = 0; c < w->channels; c++)
                out[c] = (net_t)low;
            for (int i = 0; i < w->rows; i++)
                for (int j = 0; j < w->columns; j++) {
                    const net_t *from = pixel(w, image, y, x, i, j);
                    for (int c = 0; from && c < w->channels; c++)
                        out[c] = from[c] > out[c] ? from[c] : out[c];
                }
            for (int c = 0; c < w->channels; c++)
                out[c] = out[c] > high ? (net_t)high : out[c];
        }
}
