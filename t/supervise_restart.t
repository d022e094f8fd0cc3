#!/usr/bin/perl

# An agent that dies is seen at once, started again with growing delays, and
# when it keeps dying that is a crash loop, which says when it is tried.  (A
# manager without a limit retries every 30 s for ever; one that looks every 10 s
# leaves its clients with a dead agent for up to 48 s.)

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 30);

$d->start();

###############################################################################

$d->service(name => 'echo', command => $d->agent());
my ($i) = $d->wait_running('echo', 1);

ok($i, 'it runs');
ok(alive($i->{pid}), 'as a process');
like($d->ask($i, '/'), qr/^pid $i->{pid} /, 'that answers');
is($i->{restart_count}, 0, 'never restarted');

# killed: failed within milliseconds, back after its delay

my $t0 = time();
kill 'KILL', $i->{pid};
my ($f) = $d->wait_instances('echo', sub { $_[0]{state} ne 'running' });
cmp_ok(time() - $t0, '<', 0.5, 'the death is known at once');
is($f->{state}, 'failed', 'failed');
is($f->{reason}, 'killed', 'the reason');
is($f->{exit_signal}, 9, 'the signal');
ok($f->{retry_at}, 'and when it is tried again');

my ($j) = $d->wait_running('echo', 1);
cmp_ok(time() - $t0, '<', 3, 'back');
is($j->{instance_id}, $i->{instance_id}, 'the same instance');
is($j->{incarnation}, $i->{incarnation} + 1, 'in its next incarnation');
is($j->{restart_count}, 1, 'counted');
isnt($j->{address}, $i->{address}, 'at another address');
isnt($j->{pid}, $i->{pid}, 'another process');

# exit code

$d->ask($j, '/exit/7');
($f) = $d->wait_instances('echo', sub { $_[0]{state} eq 'failed' });
is($f->{exit_code}, 7, 'the exit code');
is($f->{reason}, 'exited', 'the reason');
my ($k) = $d->wait_running('echo', 1);

my @h = map { "$_->{state}" } $d->history($i->{instance_id});
is("@h[-4 .. -1]", 'failed pending starting running',
    'the history knows the way');

# a crash loop

$d->service(name => 'loop', command => $d->agent('exit=3'),
    restart_delay => '10ms', restart_max_delay => '2s',
    max_restart_count => 3);

my ($l) = $d->wait_instances('loop', sub { $_[0]{reason} eq 'crash_loop' });
is($l->{state}, 'failed', 'failed');
is($l->{restart_count}, 3, 'after three restarts');
like($l->{message}, qr/ended with code 3; 3 restarts within the window/,
    'it says why');
ok($l->{retry_at}, 'and when it is tried');

my ($again) = $d->wait_instances('loop',
    sub { $_[0]{restart_count} > $l->{restart_count} }, 6);
ok($again, 'it is tried at the longest delay');

# a restart that somebody asks for waits for nothing and begins anew

($l) = $d->wait_instances('loop', sub { $_[0]{reason} eq 'crash_loop' });
$t0 = time();
$d->api('POST', '/services/loop/restart');
($again) = $d->wait_instances('loop',
    sub { $_[0]{restart_count} > $l->{restart_count} + 1
        && $_[0]{reason} ne 'crash_loop' }, 2);
ok($again, 'a restart by hand has a new budget');

# restart never, and on failure

$d->service(name => 'once', command => $d->agent('exit=0'),
    restart => 'on_failure');
($l) = $d->wait_instances('once', sub { $_[0]{state} eq 'failed' });
is($l->{exit_code}, 0, 'a clean end');
is($l->{retry_at}, undef, 'is not repeated with on_failure');
like($l->{message}, qr/not started again \(restart: on_failure\)/, 'it says so');

$d->finish();

###############################################################################
