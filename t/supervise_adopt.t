#!/usr/bin/perl

# corrald dies and comes back: agents live on and are found again, none is
# started or counted twice; what ended meanwhile is told with its exit code;
# what should not run is ended, and nothing that is somebody else's.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;
use Test::Corral::Shim ();

my $d = Test::Corral::Daemon->new();

plan(tests => 40);

$d->start();

###############################################################################

$d->service(name => 'echo', command => $d->agent(), replicas => 3,
    restart_delay => '500ms');
my @i = $d->wait_running('echo', 3);
my %pid = map { $_->{instance_id} => $_->{pid} } @i;

# killed and started again: the same processes

$d->kill('KILL');
ok(alive($_->{pid}), 'corrald killed: the agent lives') for @i;
like($d->ask($_, '/'), qr/^pid/, 'and answers') for @i;
$d->ask($i[0], '/say/while-away');

my $t0 = time();
$d->start();
my @j = $d->wait_running('echo', 3);
ok(wait_for(sub { 3 == (() = $d->log() =~ /found alive, pid/g) }),
    'all are found alive');
is($_->{pid}, $pid{ $_->{instance_id} }, 'the same process') for @j;
is($_->{incarnation}, 1, 'the same incarnation') for @j;
is($_->{restart_count}, 0, 'not counted as a restart') for @j;
is(scalar(descendants("$d->{dir}/agent.pl")), 3, 'none was started twice');
like(slurp("$d->{dir}/l/$i[0]{instance_id}.log"), qr/O while-away/,
    'the log went on meanwhile');

# and it is still supervised

kill 'KILL', $j[0]{pid};
my @f = $d->wait_instances('echo', sub { grep { $_->{state} eq 'failed' } @_ });
my ($dead) = grep { $_->{instance_id} eq $j[0]{instance_id} } @f;
is($dead->{exit_signal}, 9, 'a death after that is known with its signal');
@j = $d->wait_running('echo', 3);

# ended while nobody looked

$d->kill('KILL');
$d->ask($j[0], '/exit/5');
kill 'KILL', $j[1]{pid};
ok(wait_for(sub { !alive($j[0]{pid}) && !alive($j[1]{pid}) }), 'two end');
$d->start();
@f = $d->wait_instances('echo', sub {
    2 == grep { $_->{restart_count} > 0 && $_->{state} ne 'running'
        || $_->{incarnation} > 1 } @_ });
my %h0 = map { $_->{reason} => $_ } $d->history($j[0]{instance_id});
my %h1 = map { $_->{reason} => $_ } $d->history($j[1]{instance_id});
like($h0{exited}{message} // '', qr/code 5/, 'the exit code comes from the record');
like($h1{killed}{message} // '', qr/signal KILL/, 'the signal, too');
@j = $d->wait_running('echo', 3);
is(scalar(@j), 3, 'they are started again');
is($j[2]{pid}, $pid{ $j[2]{instance_id} }, 'the third never noticed');

# shim, guard and agent are all killed: nobody can tell

$d->kill('KILL');
my ($shim, $guard) = $d->shim($j[2]{instance_id});
kill 'KILL', $guard;
kill 'KILL', $shim;
ok(wait_for(sub { !alive($j[2]{pid}) }), 'no shim: no agent');
$d->start();
$d->wait_instances('echo', sub { grep { $_->{instance_id} eq $j[2]{instance_id}
    && $_->{incarnation} > 1 } @_ });
ok((grep { $_->{reason} eq 'vanished' } $d->history($j[2]{instance_id})),
    'vanished, it says');
@j = $d->wait_running('echo', 3);
is(scalar(@j), 3, 'and is started again');

# kill -9 of a shim while corrald is there: nothing is left, no second copy

$d->service(name => 'family', command => $d->agent('child=1'),
    restart_delay => '200ms');
my ($k) = $d->wait_running('family', 1);
my $word = "$d->{dir}/agent.pl\0child=1";
my @family = descendants($word);
is(scalar(@family), 2, 'an agent with a child in a session of its own');
($shim) = $d->shim($k->{instance_id});
kill 'KILL', $shim;
my ($l) = $d->wait_instances('family', sub { $_[0]{state} eq 'failed'
    && $_[0]{reason} eq 'shim_lost' });
ok($l, 'a killed shim is told as such');
ok(wait_for(sub { !alive($family[0]) && !alive($family[1]) }),
    'agent and child are gone');
($l) = $d->wait_running('family', 1);
is($l->{incarnation}, 2, 'started again');
is(scalar(descendants($word)), 2, 'once');

# a process that no document wants, ours and another's

$d->kill('KILL');
my %orphan = (dir => "$d->{dir}/x", lock => "$d->{dir}/r/shims/old.1.lock",
    socket => "$d->{dir}/r/shims/old.1.sock", log => "$d->{dir}/l/old.1.log",
    exit => "$d->{dir}/r/shims/old.1.exit", cluster => 'test', node => 'n1');
mkdir "$d->{dir}/x";
my $ours = Test::Corral::Shim->new(%orphan);
is($ours->start(['sleep', '1000']), 0, 'an orphan of this node');
my $theirs = Test::Corral::Shim->new(%orphan, node => 'n2',
    map { $_ => $orphan{$_} =~ s/old/new/r } qw/lock socket log exit/);
is($theirs->start(['sleep', '1000']), 0, 'and one of another node');
$_->disconnect() for $ours, $theirs;
$d->start();
ok(wait_for(sub { !alive($ours->pid) }, 12), 'ours is ended');
ok(wait_for(sub { $d->log()
    =~ /is of cluster "test", node "n2": it is left alone/ }, 12),
    'the log says so');
ok(alive($theirs->pid), 'the other is left alone');
$theirs->connect()->say('kill');
$theirs->wait_message('gone', 5);
$theirs->say('ack');

$d->finish();

###############################################################################
