
/*
 * Aborts, in a lockcheck build, when a *_locked() function of nginx's slab or
 * of Corral runs in a thread that holds no shared mutex.  A missing lock is
 * seen neither by functional tests nor by the sanitizers.
 *
 * How: gcc and clang call __cyg_profile_func_enter() at the start of each
 * function built with -finstrument-functions.  The constructor reads the
 * symbol table of the object that this file is linked into (nginx, and again
 * the module: that is why both get it) and remembers the addresses of the
 * functions with the suffix, static ones too.  The mutex is followed through
 * the linker's --wrap; nginx exports its symbols, so the module uses nginx's
 * copies of the functions and of the depth below.
 *
 * It does not see which mutex is held, only that one is: the module has one
 * (see ngx_module/ngx_http_corral_table.c).  A test leaves accept_mutex off, as
 * it is by default, or a worker that holds it would hide a missing lock.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


#define LOCKCHECK_MAX    256            /* functions with the suffix */

#define lockcheck_quiet  __attribute__((no_instrument_function))


typedef struct {
    uintptr_t    addr;
    const char  *name;
} lockcheck_func_t;


void __cyg_profile_func_enter(void *func, void *site);
void __cyg_profile_func_exit(void *func, void *site);
void __wrap_ngx_shmtx_lock(void *mtx);
uintptr_t __wrap_ngx_shmtx_trylock(void *mtx);
void __wrap_ngx_shmtx_unlock(void *mtx);
void lockcheck_add(uintptr_t addr, const char *name);

extern void __real_ngx_shmtx_lock(void *mtx) __attribute__((weak));
extern uintptr_t __real_ngx_shmtx_trylock(void *mtx) __attribute__((weak));
extern void __real_ngx_shmtx_unlock(void *mtx) __attribute__((weak));


static int                  lockcheck_n;
static lockcheck_func_t     lockcheck_funcs[LOCKCHECK_MAX];
static _Thread_local int    lockcheck_depth;


lockcheck_quiet void
__wrap_ngx_shmtx_lock(void *mtx)
{
    __real_ngx_shmtx_lock(mtx);
    lockcheck_depth++;
}


lockcheck_quiet uintptr_t
__wrap_ngx_shmtx_trylock(void *mtx)
{
    uintptr_t  taken;

    taken = __real_ngx_shmtx_trylock(mtx);

    if (taken) {
        lockcheck_depth++;
    }

    return taken;
}


lockcheck_quiet void
__wrap_ngx_shmtx_unlock(void *mtx)
{
    lockcheck_depth--;
    __real_ngx_shmtx_unlock(mtx);
}


/*
 * Exported, so that the module's constructor fills the table of nginx, the
 * only one that __cyg_profile_func_enter() reads.
 */

lockcheck_quiet void
lockcheck_add(uintptr_t addr, const char *name)
{
    if (lockcheck_n == LOCKCHECK_MAX) {
        fprintf(stderr, "lockcheck: more than %d functions\n", LOCKCHECK_MAX);
        abort();
    }

    lockcheck_funcs[lockcheck_n].addr = addr;
    lockcheck_funcs[lockcheck_n].name = strdup(name);
    lockcheck_n++;
}


lockcheck_quiet void
__cyg_profile_func_enter(void *func, void *site)
{
    int  i;

    if (lockcheck_depth > 0) {
        return;
    }

    for (i = 0; i < lockcheck_n; i++) {
        if (lockcheck_funcs[i].addr == (uintptr_t) func) {
            fprintf(stderr, "lockcheck: %s() without a mutex\n",
                    lockcheck_funcs[i].name);
            abort();
        }
    }
}


lockcheck_quiet void
__cyg_profile_func_exit(void *func, void *site)
{
}


/* A compiler may add ".isra.0" and the like to the name of a static one. */

lockcheck_quiet static int
lockcheck_wanted(const char *name)
{
    const char  *p;

    if (strncmp(name, "ngx_slab_", 9) != 0
        && strncmp(name, "ngx_http_corral_", 16) != 0)
    {
        return 0;
    }

    p = strstr(name, "_locked");

    return p && (p[7] == '\0' || p[7] == '.');
}


lockcheck_quiet static void
lockcheck_read(const char *image, uintptr_t base)
{
    size_t             i, j;
    const char        *names;
    const Elf64_Sym   *sym;
    const Elf64_Shdr  *sh;
    const Elf64_Ehdr  *eh;

    eh = (const Elf64_Ehdr *) image;
    sh = (const Elf64_Shdr *) (image + eh->e_shoff);

    if (eh->e_type == ET_EXEC) {
        base = 0;
    }

    for (i = 0; i < eh->e_shnum; i++) {

        if (sh[i].sh_type != SHT_SYMTAB) {
            continue;
        }

        sym = (const Elf64_Sym *) (image + sh[i].sh_offset);
        names = image + sh[sh[i].sh_link].sh_offset;

        for (j = 0; j < sh[i].sh_size / sizeof(Elf64_Sym); j++) {

            if (ELF64_ST_TYPE(sym[j].st_info) == STT_FUNC
                && sym[j].st_value != 0
                && lockcheck_wanted(names + sym[j].st_name))
            {
                lockcheck_add(base + sym[j].st_value, names + sym[j].st_name);
            }
        }
    }
}


__attribute__((constructor)) lockcheck_quiet static void
lockcheck_init(void)
{
    int           fd;
    void         *image;
    Dl_info       info;
    struct stat   st;

    if (dladdr((void *) lockcheck_init, &info) == 0) {
        fprintf(stderr, "lockcheck: dladdr() failed\n");
        abort();
    }

    /* the name of the program itself may be relative to another directory */

    fd = open(info.dli_fname, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        fd = open("/proc/self/exe", O_RDONLY|O_CLOEXEC);
    }

    if (fd == -1 || fstat(fd, &st) == -1) {
        fprintf(stderr, "lockcheck: cannot read %s\n", info.dli_fname);
        abort();
    }

    image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (image == MAP_FAILED) {
        fprintf(stderr, "lockcheck: cannot map %s\n", info.dli_fname);
        abort();
    }

    lockcheck_read(image, (uintptr_t) info.dli_fbase);

    munmap(image, st.st_size);
    close(fd);
}
