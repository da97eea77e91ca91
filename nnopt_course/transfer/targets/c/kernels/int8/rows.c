/* A layer's weights: `outputs` rows of `inputs` weights. The zero point of the inputs is in the bias:
   Σ (x − z) w = Σ x w − z Σ w. */
typedef struct {
    int inputs, outputs;
    const net_t *weights;           /* row after row */
    const int32_t *bias;
    stage_t stage;
} rows_t;
