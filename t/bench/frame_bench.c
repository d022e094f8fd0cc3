/* links: ngx_module/corral_frame.c */

/*
 * Instructions of the frame scanner: a 64 kB buffer of whole masked 128-byte
 * messages, scanned as many times as the argument says.  Run it under callgrind
 * with two counts; the difference, divided, is the cost of a frame:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null frame_bench 100
 */


#include "../../ngx_module/corral_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define FRAME_BENCH_PAYLOAD  128


int
main(int argc, char **argv)
{
    long                    rounds, i;
    size_t                  n, frames, messages;
    corral_frame_t          f;
    static uint8_t          buf[65536];
    corral_frame_result_t   out;
    static const uint8_t    key[4] = { 1, 2, 3, 4 };

    rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 100;

    for (n = 0, frames = 0; n + 8 + FRAME_BENCH_PAYLOAD <= sizeof(buf);
         frames++)
    {
        n += corral_frame_header(buf + n, 0x81, FRAME_BENCH_PAYLOAD, key);
        n += FRAME_BENCH_PAYLOAD;
    }

    corral_frame_init(&f, CORRAL_FRAME_MASKED);
    messages = 0;

    for (i = 0; i < rounds; i++) {
        if (corral_frame_scan(&f, buf, n, 1 << 20, &out) != 0) {
            return 1;
        }

        messages += out.messages;
    }

    printf("%zu frames a buffer, %zu messages\n", frames, messages);

    return messages != frames * (size_t) rounds;
}
