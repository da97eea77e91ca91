/* The mean of each patch; what lies beyond the border is not counted. */
static void average_pool(const window_t *w, const net_t *image, net_t *out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++)
            for (int c = 0; c < w->channels; c++) {
                float sum = 0;
                int count = 0;
                for (int i = 0; i < w->rows; i++)
                    for (int j = 0; j < w->columns; j++) {
                        const net_t *from = pixel(w, image, y, x, i, j);
                        if (from) {
                            sum += from[c];
                            count++;
                        }
                    }
                *out++ = sum / (float)count;
            }
}
