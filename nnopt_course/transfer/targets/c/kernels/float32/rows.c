/* A layer's weights: `inputs` rows of `outputs` weights, as Keras keeps them. */
typedef struct {
    int inputs, outputs;
    const net_t *weights;
    const net_t *bias;
} rows_t;
