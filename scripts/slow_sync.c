/* Makes each sync cost as much as on an SD card, for scripts/bench: loaded with LD_PRELOAD, SLOW_SYNC_US names the price.
   The price is paid after the real sync, so nothing is less durable than without. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *price = getenv("SLOW_SYNC_US");
    int result = real(file);
    if (price)
        usleep((useconds_t)atoi(price));
    return result;
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
