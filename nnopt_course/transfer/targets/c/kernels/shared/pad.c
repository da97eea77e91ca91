/* An image inside a larger one that is filled with `border`. */
static void pad(const net_t *image, int height, int width, int channels, int above, int before,
                int new_height, int new_width, net_t border, net_t *out)
{
    for (int i = 0; i < new_height * new_width * channels; i++)
        out[i] = border;
    for (int y = 0; y < height; y++)
        for (int i = 0; i < width * channels; i++)
            out[((y + above) * new_width + before) * channels + i] = image[y * width * channels + i];
}
