#!/usr/bin/perl

# corral-shim: what the agent gets, and what the caller is told when it cannot
# be started.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Shim;

my $s = Test::Corral::Shim->new();
my $dir = $s->dir;

plan(tests => 37);

###############################################################################

# the agent writes what it finds, then sleeps

my $look = <<'EOP';
my ($file) = @ARGV;
open my $fh, '>', "$file.new";
my $cwd = readlink '/proc/self/cwd';
my $status = do { local $/; open my $s, '<', '/proc/self/status'; <$s> };
my $limits = do { local $/; open my $s, '<', '/proc/self/limits'; <$s> };
my $stat = do { local $/; open my $s, '<', '/proc/self/stat'; <$s> };
my @stat = split / /, $stat;
opendir my $d, '/proc/self/fd';
my $own = fileno($fh);
my @fds = sort { $a <=> $b }
    grep { /\d/ && readlink("/proc/self/fd/$_")
           !~ m{^(?:/proc|pipe)|look|anon_inode} && $_ != 0 } readdir $d;
printf $fh "cwd=%s\nstdin=%s\nfds=%s\n%s%spgrp=%d\nsid=%d\nsigs=%s\n", $cwd,
    readlink('/proc/self/fd/0'),
    join(',', map { "$_:" . readlink("/proc/self/fd/$_") } @fds),
    $status, $limits, $stat[4], $stat[5], 'x';
print $fh map { "env $_=$ENV{$_}\n" } sort keys %ENV;
close $fh;
rename "$file.new", $file;
sleep 1000;
EOP

chmod 0777, $dir;

is($s->start(['perl', '-e', $look, "$dir/look"], cwd => $dir,
    env => { PATH => '/usr/bin:/bin', NAME => 'value=with=signs', EMPTY => '' },
    rlimit => ['nofile:64:128'], umask => '027',
    $> == 0 ? (uid => 65534, gid => 65534, groups => '65534') : ()),
    0, 'started');

wait_for(sub { -f "$dir/look" });
my $seen = slurp("$dir/look");

like($seen, qr{^cwd=\Q$dir\E$}m, 'working directory');
like($seen, qr{^stdin=/dev/null$}m, 'nothing to read');
like($seen, qr{^fds=200:\Q$dir\E/\S+\.lock$}m, 'only the lock is inherited');
like($seen, qr{^NoNewPrivs:\s+1$}m, 'no new privileges');
like($seen, qr{^Max open files\s+64\s+128}m, 'limit of files');
like($seen, qr{^Umask:\s+0027$}m, 'umask');
like($seen, qr{^SigBlk:\s+0+$}m, 'no signal blocked');
# perl ignores FPE by itself; 32 and 33 are the C library's own, which lets nobody
# set them and ignores them in what posix_spawn() starts, as make does
my ($upper, $lower) = $seen =~ m{^SigIgn:\s+(\w{8})(\w{8})$}m;
is(sprintf('%x %x', hex $upper & ~1, hex $lower & ~0x80000080), '0 0',
    'no signal ignored');
like($seen, qr{^pgrp=@{[ $s->pid ]}$}m, 'leads its group');
like($seen, qr{^sid=@{[ $s->pid ]}$}m, 'leads its session');
is(join(' ', $seen =~ /^env (.*)$/mg),
    'EMPTY= NAME=value=with=signs PATH=/usr/bin:/bin', 'environment, no more');

SKIP: {
    skip 'not root', 3 if $> != 0;

    like($seen, qr{^Uid:\s+65534\s+65534\s+65534\s+65534$}m, 'user');
    like($seen, qr{^Gid:\s+65534\s+65534\s+65534\s+65534$}m, 'group');
    like($seen, qr{^Groups:\s+65534 ?$}m, 'supplementary groups');
}

# who it says it is

my $hello = $s->{hello};

is($hello->{type}, 'hello', 'hello');
is($hello->{instance}, $s->{id}, 'instance');
is($hello->{nonce}, $s->{spec}{nonce}, 'nonce');
my $boot = slurp('/proc/sys/kernel/random/boot_id');
chomp $boot;
is($hello->{boot_id}, $boot, 'boot id');
is($hello->{start_time},
    (split / /, slurp('/proc/' . $s->pid . '/stat') =~ s/^.*\) //sr)[19],
    'start time');

# small, and not the child of its starter

my ($rss) = slurp('/proc/' . $s->shim_pid . '/status') =~ /^VmRSS:\s+(\d+)/m;

SKIP: {
    skip 'sanitizer', 1 if slurp($Test::Corral::Shim::SHIM) =~ /__asan_init/;
    cmp_ok($rss, '<', 1024, "less than 1 MB: $rss kB");
}

isnt($s->guard_pid, $$, 'detached');
unlike(slurp('/proc/' . $s->shim_pid . '/environ'), qr/value=with/,
    'the agent\'s environment is not the shim\'s');
unlike(slurp('/proc/' . $s->shim_pid . '/cmdline'), qr/value=with/,
    'nor in its command line');

# one copy at a time

is($s->start(['sleep', '100']), 69, 'second copy: refused');
like($s->{error}, qr/lock ".*\.lock" is held/, 'and told why');
$s->finish();

# what cannot be started, leaves nothing

is($s->start(['/nonexistent/agent']), 127, 'no such program');
is($s->start(['agent-that-is-nowhere']), 127, 'not in PATH');
is($s->start(["$dir/look"]), 126, 'not executable');
is($s->start(['sleep', '1'], cwd => '/nonexistent'), 77, 'no such directory');
is($s->start(['sleep', '1'], log => '/nonexistent/x.log'), 73, 'no such log');

is($s->start_raw("corral=1\0arg=sleep\0"), 65, 'description cut off');
is($s->start_raw("corral=1\0nonsense=1\0end=1\0"), 65, 'unknown member');
is($s->start_raw("corral=2\0end=1\0"), 65, 'other version');
is($s->start_raw('x' x 600000), 65, 'endless description');
ok(!-e $s->{spec}{socket}, 'no socket is left');

###############################################################################
