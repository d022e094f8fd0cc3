/* links: ngx_module/corral_frame.c */

/*
 * The frame scanner: a 64 kB buffer of whole masked 128-byte messages, scanned
 * as many times as the argument says; nanoseconds of CPU a message.  For
 * instructions run it under callgrind with two counts; the difference, divided
 * by 481 and the difference of the counts, is the cost of a frame:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null frame_bench 100
 */


#include "../../ngx_module/corral_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define FRAME_BENCH_PAYLOAD  128


int
main(int argc, char **argv)
{
    long                    rounds, i;
    clock_t                 start;
    size_t                  n, frames, messages;
    corral_frame_t          f;
    static uint8_t          buf[65536];
    corral_frame_result_t   out;
    static const uint8_t    key[4] = { 1, 2, 3, 4 };

    rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 10000;

    for (n = 0, frames = 0; n + 8 + FRAME_BENCH_PAYLOAD <= sizeof(buf);
         frames++)
    {
        n += corral_frame_header(buf + n, 0x81, FRAME_BENCH_PAYLOAD, key);
        n += FRAME_BENCH_PAYLOAD;
    }

    corral_frame_init(&f, CORRAL_FRAME_MASKED);
    messages = 0;
    start = clock();

    for (i = 0; i < rounds; i++) {
        if (corral_frame_scan(&f, buf, n, 1 << 20, &out) != 0) {
            return 1;
        }

        messages += out.messages;
    }

    printf("scan: %zu messages of %d bytes, %.1f ns each\n", messages,
           FRAME_BENCH_PAYLOAD, (double) (clock() - start) / CLOCKS_PER_SEC
                                * 1e9 / (double) messages);

    return messages != frames * (size_t) rounds;
}
