/* A convolution of each channel by itself; `depth` outputs a channel.
   weights: window entry after window entry, of each all outputs. */
static void depthwise_conv2d(const rows_t *layer, const window_t *w, int depth, int zero_point,
                             const net_t *image, net_t *out)
{
    for (int y = 0; y < w->new_height; y++)
        for (int x = 0; x < w->new_width; x++)
            for (int o = 0; o < layer->outputs; o++) {
                int32_t sum = layer->bias[o];
                for (int i = 0; i < w->rows; i++)
                    for (int j = 0; j < w->columns; j++) {
                        const net_t *from = pixel(w, image, y, x, i, j);
                        int weight = layer->weights[(i * w->columns + j) * layer->outputs + o];
                        if (from)
                            sum += (from[o / depth] - zero_point) * weight;
                    }
                requantize(&layer->stage, o, &sum, 1, out++);
            }
}
