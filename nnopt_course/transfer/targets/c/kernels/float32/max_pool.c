/* The largest of each patch. */
static void max_pool(const window_t *w, const net_t *image, net_t *restrict out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++, out += w->channels) {
            for (int c = 0; c < w->channels; c++)
                out[c] = -3.4028235e38f;
            for (int i = 0; i < w->rows; i++)
                for (int j = 0; j < w->columns; j++) {
                    const net_t *from = pixel(w, image, y, x, i, j);
                    for (int c = 0; from && c < w->channels; c++)
                        out[c] = from[c] > out[c] ? from[c] : out[c];
                }
        }
}
