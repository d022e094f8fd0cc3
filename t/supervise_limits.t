#!/usr/bin/perl

# Limits: memory, processes and files of an instance; a cgroup of its own where
# that is possible, which goes with it; what is killed for want of memory is
# told as that.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 14);

$d->start();

###############################################################################

$d->service(name => 'small', command => $d->agent(), memory_limit_mb => 64,
    process_limit => 500, file_limit => 77);
my ($i) = $d->wait_running('small', 1);
my $limits = slurp("/proc/$i->{pid}/limits");
my ($cgroup) = slurp("/proc/$i->{pid}/cgroup") =~ /^0::(.*)$/m;
my ($own) = slurp("/proc/$d->{pid}/cgroup") =~ /^0::(.*)$/m;
my ($mount) = slurp('/proc/self/mountinfo') =~ /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 /m;
my $dir = ($mount // '') . ($cgroup // '');

# which controllers there are depends on the machine; one way it is limited

my $has = slurp("$dir/cgroup.controllers");

like($limits, qr/^Max open files\s+77\s+77/m, 'files');

if ($has =~ /memory/) {
    is(slurp("$dir/memory.max"), 67108864 . "\n", 'memory, by the cgroup');
} else {
    like($limits, qr/^Max data size\s+67108864\s+67108864/m,
        'memory, by rlimit');
}

if ($has =~ /pids/) {
    is(slurp("$dir/pids.max"), "500\n", 'processes, by the cgroup');
} else {
    like($limits, qr/^Max processes\s+500\s+500/m, 'processes, by rlimit');
}

# it holds: an agent that wants more does not get it

$d->service(name => 'greedy', memory_limit_mb => 64, restart => 'never',
    command => ['perl', '-e', 'my $x = "x" x 200_000_000; print "got it\n";
        sleep 1000'],
    health_check_enabled => \0);
my ($g) = $d->wait_instances('greedy', sub { $_[0]{state} eq 'failed' });
ok($g, 'an agent that takes too much ends');
unlike(slurp("$d->{dir}/l/$g->{instance_id}.log"), qr/got it/,
    'and never had it');

SKIP: {
    skip 'no cgroup here', 6 if $cgroup eq $own || $cgroup eq '/';

    like($cgroup, qr/test\.n1\.\Q$i->{instance_id}\E$/, 'a cgroup of its own');
    my @procs = split /\n/, slurp("$dir/cgroup.procs");
    ok((grep { $_ == $i->{pid} } @procs), 'the agent is in it');
    my ($shim) = $d->shim($i->{instance_id});
    ok(!(grep { $_ == $shim } @procs), 'its shim is not');

    # a descendant that left session, group and parent is still in it

    $d->service(name => 'family', command => $d->agent('child=1'));
    my ($f) = $d->wait_running('family', 1);
    my $fdir = $mount . (slurp("/proc/$f->{pid}/cgroup") =~ /^0::(.*)$/m)[0];
    is(scalar(split /\n/, slurp("$fdir/cgroup.procs")), 2,
        'and so are descendants');
    $d->api('POST', '/services/family/stop');
    ok(wait_for(sub { !-d $fdir }), 'it goes with the instance');
    $d->api('POST', '/services/small/stop');
    ok(wait_for(sub { !-d $dir }), 'this one, too');
}

$d->finish();

###############################################################################
