#!/usr/bin/perl

# Tests for replay under fire: t/bench/storm.py in a short form.  Agents are killed
# all the time; each client counts what it asked and what it got.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

use File::Temp qw/tempdir/;

###############################################################################

plan(skip_all => 'the module is not built')
    unless -f $Test::Corral::MODULE;

my $dir = tempdir(CLEANUP => 1);
my $agent = "$dir/bench-agent";

system($ENV{CC} || 'cc', qw/-std=gnu11 -O2 -pthread -o/, $agent,
    glob "$FindBin::Bin/../deploy/agents/bench/bench[-_]*.c") == 0
    or BAIL_OUT('bench-agent does not compile');

# two workers, so that suspects and counts are shared; the seed makes the order of
# deaths and requests the same each time

for my $run ([ 7, 1 ], [ 8, 2 ]) {
    my ($seed, $workers) = @$run;

    my $out = storm('--clients', 60, '--instances', 4, '--seconds', 4,
        '--every', 0.4, '--streams', 20, '--seed', $seed, '--workers', $workers,
        '--no-times');

    like($out, qr/^all is right$/m, "seed $seed: all is right");

    my ($requests, $finals, $parts, $closed) = $out =~
        /^(\d+) requests, (\d+) final answers, (\d+) parts, (\d+) streamed/m;
    my ($moves, $again) = $out =~ /^(\d+) moves, (\d+) messages sent again/m;

    is($requests, $finals + $closed, "seed $seed: an answer to each request");
    cmp_ok($moves, '>', 60, "seed $seed: connections have moved");
    cmp_ok($again, '>', 0, "seed $seed: and messages were sent again");
    cmp_ok($parts, '>', 0, "seed $seed: answers were streamed");
}

done_testing();

###############################################################################

sub storm {
    my (@options) = @_;

    local $ENV{CORRAL_BUILD} = $Test::Corral::BUILD;

    open my $out, '-|', '/usr/bin/python3', '-B', 'bench/storm.py', '--agent',
        $agent, @options or die "Can't run storm.py: $!\n";

    local $/;

    my $text = <$out>;
    close $out;
    note($text);

    return $text;
}

###############################################################################
