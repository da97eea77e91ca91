/* How a convolution or a pooling moves over an image of height × width pixels. */
typedef struct {
    int height, width, channels;    /* of the input */
    int new_height, new_width;      /* of the output */
    int rows, columns;              /* of the window */
    int down, right;                /* steps */
    int below, beside;              /* from one entry of the window to the next */
    int above, before;              /* rows and columns added around the image */
} window_t;

/* The pixel under entry (i, j) of the window at output (y, x); 0 where there is none. */
static const net_t *pixel(const window_t *w, const net_t *image, int y, int x, int i, int j)
{
    int row = y * w->down - w->above + i * w->below;
    int column = x * w->right - w->before + j * w->beside;
    if (row < 0 || row >= w->height || column < 0 || column >= w->width)
        return 0;
    return image + (row * w->width + column) * w->channels;
}
