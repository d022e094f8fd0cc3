
/*
 * The options of AddressSanitizer for nginx, so that no test has to know them.
 *
 * detect_odr_violation=0: nginx and each of its dynamic modules define
 * ngx_module_names and others of the same name, by design.
 *
 * detect_leaks=0: nginx leaves the memory of its last cycle to the kernel.
 */


const char *__asan_default_options(void);


const char *
__asan_default_options(void)
{
    return "detect_odr_violation=0:detect_leaks=0";
}
