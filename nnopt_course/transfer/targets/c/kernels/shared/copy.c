static void copy(const net_t *from, int count, net_t *to)
{
    for (int i = 0; i < count; i++)
        to[i] = from[i];
}
