/* A pruned dense layer: of each row only the weights that are not zero, and the gap from one to the
   next. A gap of more than 255 is bridged by weights that are zero. */
typedef struct {
    int outputs;
    const net_t *weights;
    const uint8_t *gaps;
    const uint16_t *counts;         /* how many weights each row has */
    const int32_t *bias;
    stage_t stage;
} sparse_t;

static void sparse(const sparse_t *layer, const net_t *x, net_t *out)
{
    const net_t *w = layer->weights;
    const uint8_t *gap = layer->gaps;
    for (int o = 0; o < layer->outputs; o++) {
        int32_t sum = layer->bias[o];
        const net_t *at = x;
        for (int n = layer->counts[o]; n > 0; n--) {
            at += *gap++;
            sum += *at * *w++;
        }
        requantize(&layer->stage, o, &sum, 1, out + o);
    }
}
