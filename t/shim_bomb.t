#!/usr/bin/perl

# corral-shim: an agent whose descendants fork without end, into sessions of
# their own, is gone after a stop.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Shim;

my $s = Test::Corral::Shim->new();

plan(tests => 5);

###############################################################################

# 40 processes that each start their successor and end, again and again: no
# list of pids is true for longer than a few milliseconds

my $word = "corral-bomb-$$";

$s->start(['perl', '-e', <<'EOP', $word, $s->dir . '/count']);
use POSIX;
open my $count, '>>', $ARGV[1];
$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = 'IGNORE';
for (1 .. 40) {
    my $pid = fork // last;
    next if $pid;
    POSIX::setsid() if rand() < 0.5;
    while (1) {
        select undef, undef, undef, 0.02 + rand(0.03);
        my $next = fork;
        exit 0 if $next;
        syswrite $count, "x";
    }
}
print "ready\n";
close STDOUT;
sleep 1000;
EOP

ok(wait_for(sub { $s->log =~ /ready/ }), 'started');
ok(wait_for(sub { -s $s->dir . '/count' > 200 }), 'they go on and on');

$s->say('stop', signal => 15, timeout => 100);
ok($s->wait_message('gone', 10), 'all ended');
my $size = -s $s->dir . '/count';

# "gone" is what the shim believes; /proc is what is true

my @left = descendants($word);
is("@left", '', 'none is left');
is(-s $s->dir . '/count', $size, 'and none was started since');
kill 'KILL', @left;

###############################################################################
