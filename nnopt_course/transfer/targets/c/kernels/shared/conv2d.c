/* A convolution is a dense layer on every patch of the image. The patch is copied together first;
   what lies beyond the border is `border`: zero, in the numbers of the input. */
static void conv2d(const rows_t *layer, const window_t *w, net_t border, const net_t *image,
                   net_t *patch, net_t *out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++) {
            net_t *next = patch;
            for (int i = 0; i < w->rows; i++)
                for (int j = 0; j < w->columns; j++) {
                    const net_t *from = pixel(w, image, y, x, i, j);
                    for (int c = 0; c < w->channels; c++)
                        *next++ = from ? from[c] : border;
                }
            dense(layer, patch, out);
            out += layer->outputs;
        }
}
