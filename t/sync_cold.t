#!/usr/bin/perl

# Tests for corral_redis over TCP with a password and a database, and for a start
# without Redis from the state file that was written while it was there.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/stat time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_redis redis-server/);

my $agent = $t->agent(id => 'one.1', port => 8081);
my $address = '127.0.0.1:' . port(8081);

my $store = Test::Corral::Store->new(
    $t->redis(args => [ '--requirepass', 'p@ss:word' ]));

$store->command('AUTH', 'p@ss:word');
$store->command('SELECT', 5);

$t->write_file_expand('nginx.conf', <<'EOT')->plan(11);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_redis       redis://:p@ss%3Aword@localhost:%%PORT_8379%%/5;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

EOT

my $file = $t->testdir() . '/gateway.state';

$store->epoch('first');
$store->commit($store->service('one'), $store->instance('one', 'one.1', $address));

$t->run();

ok(defined $store->wait_acks(2, 1), 'password and database');
ok(wait_for(sub { -s $file }), 'state file');

# several changes are one file or a few, soon after the last one

my ($revision, %written);

for (1 .. 20) {
    $revision = $store->commit($store->instance('one', "more.$_", $address));
    $written{(stat $file)[9]} = 1;
}

ok(in_file(), 'written after them');
cmp_ok(scalar keys %written, '<', 10, 'not with each change');

# one change after the other: each is soon there, as the file is small

my $start = time();

for (1 .. 8) {
    $revision = $store->commit($store->instance('one', 'more.1', $address));
    in_file();
}

ok(in_file(), 'written after each');
cmp_ok(time() - $start, '<', 5, sprintf 'soon: %.1f s for eight',
    time() - $start);
$store->wait_acks(2, $revision);

is(join(' ', glob "$file.*"), '', 'nothing beside it');

# a start without Redis

$t->stop();
$t->stop_daemon($t->{redis}{8379});
$t->run();

like(http_get('/agents/one/'), qr/ 200 /, 'served without Redis');
is($t->status()->{revision}, $revision, 'the last revision');
is(scalar keys %{ $t->counts() }, 21, 'all instances');
like($t->read_file('error.log'), qr/loaded from file: .* revision $revision/,
    'from the state file');

###############################################################################

# Whether the file has the last revision; keeps the times it was written.

sub in_file {
    return wait_for(sub {
        $written{(stat $file)[9]} = 1;
        $t->read_file('gateway.state') =~ /"revision":$revision\b/ });
}

###############################################################################
