#!/usr/bin/perl

# Redis is killed, comes back, and comes back empty: no agent is touched,
# nothing that is registered is lost, and what ended meanwhile is told.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 13);

$d->start();

###############################################################################

$d->service(name => 'echo', command => $d->agent(), replicas => 2,
    restart_delay => '200ms');
my @i = $d->wait_running('echo', 2);
my %pid = map { $_->{instance_id} => $_->{pid} } @i;

# killed: agents go on, and one that dies meanwhile is told afterwards

my $redis = $d->_redis_pid();
ok($redis, 'Redis runs');
kill 'KILL', $redis;
delete $d->{redis_pid};
$d->ask($i[0], '/exit/4');
ok(wait_for(sub { !alive($i[0]{pid}) }), 'one agent ends meanwhile');
ok(alive($i[1]{pid}), 'the other goes on');

my @j = $d->wait_instances('echo', sub {
    2 == (grep { $_->{state} eq 'running' } @_)
    && grep { $_->{incarnation} == 2 } @_ }, 20);
is(scalar(@j), 2, 'Redis is back, the ended one is started again');
my ($k) = grep { $_->{instance_id} eq $i[1]{instance_id} } @j;
is($k->{pid}, $i[1]{pid}, 'the other was not touched');
is($k->{incarnation}, 1, 'never restarted');
ok((grep { $_->{message} =~ /code 4/ } $d->history($i[0]{instance_id})),
    'the exit code was not lost');

# emptied while corrald runs

my $socket = "$d->{dir}/r/redis.sock";
my $out = `redis-cli -s $socket flushall 2>&1`;

SKIP: {
    skip "flushall: $out", 3 if $out !~ /OK/;

    my @l = $d->wait_instances('echo', sub { 2 == @_
        && 2 == grep { $_->{state} eq 'running' } @_ }, 20);
    is(scalar(@l), 2, 'an emptied Redis is filled again');
    is(join(' ', sort map { $_->{pid} } @l),
        join(' ', sort map { $_->{pid} } @j), 'the agents never noticed');
    is(scalar(descendants("$d->{dir}/agent.pl")), 2, 'none was started twice');
}

$d->finish();

###############################################################################
