/* Reads packed files, each after four bytes with its size, and prints what is in their arrays. */
#include <stdio.h>
#include <stdlib.h>

#define PACKED_INT int32_t
#include "input.c"
#ifdef HUFFMAN
#include "huffman.c"
#else
#include "mixing.c"
#include "matrices.c"
#endif
#include "reader.c"

int main(int count, char **arguments)
{
    static packed_t arrays[100];
    uint32_t size, room = count > 1 ? (uint32_t)atoi(arguments[1]) : 0;
    while (fread(&size, 4, 1, stdin)) {
        uint8_t *file = malloc(size ? size : 1);     /* Of its own, so that a sanitizer sees ends. */
        void *memory = calloc(1, room);
        size = (uint32_t)fread(file, 1, size, stdin);
        int32_t found = packed_read(file, size, arrays, 100, memory, room);
        fwrite(&found, 4, 1, stdout);
        for (int i = 0; i < found; i++) {
            const packed_t *a = arrays + i;
            const int32_t about[6] = {a->rows, a->columns, a->above, a->way, a->half,
                                      a->integers != 0};
            fwrite(about, 4, 6, stdout);
            for (int k = 0; a->integers && k < a->rows * a->columns; k++) {
                int32_t value = a->integers[k];
                fwrite(&value, 4, 1, stdout);
            }
        }
        free(memory);
        free(file);
    }
    return 0;
}
