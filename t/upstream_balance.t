#!/usr/bin/perl

# Tests for corral_balance: how an instance is chosen.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my @agents = map {
    $t->agent(id => "echo.$_", socket => "echo.$_.sock")
} 1 .. 4;

state(1, 1 .. 3);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(32);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    upstream least {
        corral;
        corral_balance  least_conn;
    }

    upstream two {
        corral;
        corral_balance  p2c;
    }

    upstream chance {
        corral;
        corral_balance  weighted_random;
    }

    upstream hash {
        corral;
        corral_balance  hash header.X-Key;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;
        proxy_set_header    Connection "";
        corral_service_from  query;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location /least {
            corral_websocket  least;
            proxy_pass        http://least;
        }

        location /two {
            corral_websocket  two;
            proxy_pass        http://two;
        }

        location /chance {
            corral_websocket  chance;
            proxy_pass        http://chance;
        }

        location /hash {
            corral_websocket  hash;
            proxy_pass        http://hash;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# round robin: a cycle is exact, over all workers, and follows the weights

is_deeply(many(30, '/?service=equal'),
    { 'equal.1' => 10, 'equal.2' => 10, 'equal.3' => 10 }, 'equal weights');
is_deeply(many(40, '/?service=uneven'),
    { 'uneven.1' => 20, 'uneven.2' => 10, 'uneven.3' => 10 },
    'uneven weights');

my @order = map { agent('/?service=uneven') } 1 .. 8;
is(scalar(grep { $order[$_] eq $order[$_ - 1] && $order[$_] ne 'uneven.1' }
    1 .. 7), 0, 'interleaved');

# a service says itself how it is balanced

is(keys %{ many(10, '/?service=sticky') }, 1, 'hash of the client');

# other words for the same

is_deeply(many(8, '/?service=alias'), { 'alias.1' => 4, 'alias.2' => 2,
    'alias.3' => 2 }, 'weighted_round_robin');

# least connections: what is busy gets less

my @held = map { $t->websocket('/least?service=equal') } 1 .. 6;

is_deeply($t->wait_for_counts({ map { ("equal.$_" => 2) } 1 .. 3 }),
    { map { ("equal.$_" => 2) } 1 .. 3 }, 'spread evenly');

my ($free) = $held[0]->ask('!id');
my @of_one = grep { $_->ask('!id') eq $free } @held;

$_->close() for @of_one;
$t->wait_for_counts({ $free =~ s/echo/equal/r => 0 });

my $id = $t->websocket('/least?service=equal')->ask('!id');
is($id, $free, 'least used is chosen');

$_->close() for grep { $_->socket() } @held;
$t->wait_for_counts({ map { ("equal.$_" => 0) } 1 .. 3 });

# with its weight: twice the weight takes twice the connections

@held = map { $t->websocket('/least?service=uneven') } 1 .. 8;
is_deeply($t->wait_for_counts(
    { 'uneven.1' => 4, 'uneven.2' => 2, 'uneven.3' => 2 }),
    { 'uneven.1' => 4, 'uneven.2' => 2, 'uneven.3' => 2 }, 'by weight');
$_->close() for @held;

# two choices: of three, the one with the most connections is never taken;
# beyond 7 to 13 comes once in 50,000 times

@held = map { $t->websocket('/two?service=equal') } 1 .. 30;

my %n;
$n{$_->ask('!id')}++ for @held;

is(scalar(grep { ($n{"echo.$_"} // 0) >= 7 && $n{"echo.$_"} <= 13 } 1 .. 3), 3,
    'p2c: level');

$_->close() for @held;
$t->wait_for_counts({ map { ("equal.$_" => 0) } 1 .. 3 });

# by chance: all are used, by weight, and not in a row

my $chance = many(200, '/chance?service=uneven');

cmp_ok($chance->{'uneven.1'}, '>', 70, 'random: half');
cmp_ok($chance->{'uneven.1'}, '<', 130, 'no more than half');
cmp_ok($chance->{"uneven.$_"}, '>', 20, "a quarter: $_") for 2, 3;
isnt(join(' ', map { agent('/chance?service=uneven') } 1 .. 16),
    join(' ', map { agent('/chance?service=uneven') } 1 .. 16), 'no turn');

# hash: one key, one instance, on every worker; keys spread

my %first = map { $_ => agent('/hash?service=equal', $_) } 'a' .. 'z';
my %again = map { $_ => agent('/hash?service=equal', $_) } 'a' .. 'z';
my %used = map { $_ => 1 } values %first;

is_deeply(\%again, \%first, 'stable');
is(keys %used, 3, 'all are used');

# a bound: a key that is used much spreads, and comes back when there is room

@held = map { $t->websocket('/?service=sticky') } 1 .. 12;
is(keys %{ { map { $_->ask('!id') => 1 } @held } }, 1, 'no bound');
$_->close() for @held;
$t->wait_for_counts({ map { ("sticky.$_" => 0) } 1 .. 3 });

my $home = agent('/?service=bound');

@held = map { $t->websocket('/?service=bound') } 1 .. 12;
%n = ();
$n{$_->ask('!id') =~ s/echo/bound/r}++ for @held;

is(scalar(grep { $n{"bound.$_"} <= 5 } 1 .. 3), 3, 'below 125 % of the mean');
is($n{$home}, 5, 'its own instance takes what it may');

$_->close() for grep { $_->ask('!id') =~ s/echo/bound/r eq $home } @held;
ok($t->wait_for_counts({ $home => 0 }), 'ended');
is(agent('/?service=bound'), $home, 'back home');

$_->close() for grep { $_->socket() } @held;
$t->wait_for_counts({ map { ("bound.$_" => 0) } 1 .. 3 });
my ($service) = grep { $_->{name} eq 'bound' } @{ $t->status()->{services} };
is($service->{active}, 0, 'no count of it is left');

# another instance takes some keys and moves no other

state(2, 1 .. 4);
ok($t->wait_for_revision(2), 'one more');

my %more = map { $_ => agent('/hash?service=equal', $_) } 'a' .. 'z';
my @moved = grep { $more{$_} ne $first{$_} } 'a' .. 'z';

cmp_ok(scalar @moved, '>', 0, 'it gets keys');
is(scalar(grep { $more{$_} ne 'equal.4' } @moved), 0, 'no other key moves');

# an instance less: only its keys move

state(3, 1, 3);
ok($t->wait_for_revision(3), 'one less');

my %less = map { $_ => agent('/hash?service=equal', $_) } 'a' .. 'z';

is(scalar(grep { $first{$_} ne 'equal.2' && $less{$_} ne $first{$_} }
    'a' .. 'z'), 0, 'others stay');
is(scalar(grep { $less{$_} eq 'equal.2' } 'a' .. 'z'), 0, 'its keys move');

is_deeply(many(20, '/?service=equal'), { 'equal.1' => 10, 'equal.3' => 10 },
    'round robin over the rest');

# preferred health: others are used when no healthy one is left

$t->state_file(revision => 4, services => [ { name => 'equal' } ],
    instances => [
        $agents[0]->instance('equal', id => 'equal.1', health => 'degraded'),
        $agents[1]->instance('equal', id => 'equal.2'),
    ]);
$t->wait_for_revision(4);

is_deeply(many(10, '/?service=equal'), { 'equal.2' => 10 }, 'healthy first');

# max_sessions: a full instance gets nothing, a full service says so

$t->state_file(revision => 5,
    services => [ { name => 'equal', max_sessions => 1 } ],
    instances => [ map {
        $agents[$_ - 1]->instance('equal', id => "equal.$_")
    } 1 .. 2 ]);
$t->wait_for_revision(5);

@held = map { $t->websocket('/?service=equal') } 1 .. 2;

is(join(' ', sort map { $_->ask('!id') } @held), 'echo.1 echo.2', 'one each');

like(http_get('/?service=equal'), qr/ 503 .*"code":"service_full"/s, 'full');

###############################################################################

sub state {
    my ($revision, @which) = @_;

    my @instances;

    for my $name (qw/equal uneven sticky alias bound/) {
        for (@which) {
            push @instances, $agents[$_ - 1]->instance($name,
                id => "$name.$_",
                weight => $name =~ /uneven|alias/ && $_ == 1 ? 200 : 100);
        }
    }

    $t->state_file(revision => $revision, instances => \@instances,
        services => [ { name => 'equal' }, { name => 'uneven' },
            { name => 'bound', balance => 'hash', hash_key => 'session',
                hash_balance_factor => 125 },
            { name => 'alias', balance => 'weighted_round_robin' },
            { name => 'sticky', balance => 'hash', hash_key => 'client_ip' } ]);
}

# the instance that answered: the log names it, as agents serve several

sub agent {
    my ($uri, $key) = @_;

    my $r = http_get($uri, headers => [ $key ? "X-Key: $key" : () ]);
    my ($service) = $uri =~ /service=(\w+)/;

    return $r =~ / 200 /
        ? http_body($r, json => 1)->{agent} =~ s/^echo/$service/r : $r;
}

sub many {
    my ($n, $uri) = @_;
    my %count;
    $count{agent($uri)}++ for 1 .. $n;
    return \%count;
}

###############################################################################
