/* The mean of each patch, rounded to nearest, half away from zero. */
static void average_pool(const window_t *w, int low, int high, const net_t *image, net_t *out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++)
            for (int c = 0; c < w->channels; c++) {
                int sum = 0, count = 0;
                for (int i = 0; i < w->rows; i++)
                    for (int j = 0; j < w->columns; j++) {
                        const net_t *from = pixel(w, image, y, x, i, j);
                        if (from) {
                            sum += from[c];
                            count++;
                        }
                    }
                int mean = (sum < 0 ? sum - count / 2 : sum + count / 2) / count;
                *out++ = (net_t)(mean < low ? low : mean > high ? high : mean);
            }
}
