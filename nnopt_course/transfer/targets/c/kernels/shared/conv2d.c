/* The patch under the window at output (y, x), copied together. What lies beyond the border is
   `border`: zero, in the numbers of the input. */
static void gather(const window_t *w, net_t border, const net_t *image, int y, int x,
                   net_t *restrict patch)
{
    int left = x * w->right - w->before, length = w->columns * w->channels;
    int whole = w->beside == 1 && left >= 0 && left + w->columns <= w->width;
    for (int i = 0; i < w->rows; i++, patch += length) {
        int row = y * w->down - w->above + i * w->below;
        if (whole && row >= 0 && row < w->height) {     /* A row of the window in one piece. */
            const net_t *from = image + (row * w->width + left) * w->channels;
            for (int n = 0; n < length; n++)
                patch[n] = from[n];
        } else {
            for (int j = 0; j < w->columns; j++) {
                const net_t *from = pixel(w, image, y, x, i, j);
                for (int c = 0; c < w->channels; c++)
                    patch[j * w->channels + c] = from ? from[c] : border;
            }
        }
    }
}

/* A convolution is a dense layer on every patch of the image. */
static void conv2d(const rows_t *layer, const window_t *w, net_t border, const net_t *image,
                   net_t *patch, net_t *out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++, out += layer->outputs) {
            gather(w, border, image, y, x, patch);
            dense(layer, patch, out);
        }
}
