#!/usr/bin/perl

# Tests for corral_state_file: what is taken of a file that is broken, and that a
# changed one is loaded without a reload.

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

use Compress::Zlib;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(revision => 1, services => [ { name => 'one' } ],
    instances => [ $agent->instance('one', id => 'one.1') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(35);

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

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location /rules/ {
            corral_service_from  rules;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run();
ok($t->wait_for_revision(1), 'loaded at the start');
is($t->status()->{source}, 'file', 'source');
is($t->status()->{epoch}, 'e1', 'epoch');
is(status('one'), 200, 'served');

###############################################################################

# a changed file is loaded by all workers

change(revision => 2, services => [ { name => 'one' }, { name => 'two' } ],
    instances => [ $agent->instance('two', id => 'two.1') ]);
ok($t->wait_for_revision(2), 'changed file');
is(status('two'), 200, 'new service');
is(status('one'), 503, 'instance removed');

# a lower revision is a change as well: the file was written by a person

change(revision => 1, epoch => 'e2', services => [ { name => 'one' } ],
    instances => [ $agent->instance('one', id => 'one.1') ]);
ok(wait_for(sub {
    2 == (() = $t->read_file('error.log') =~ /registry loaded .*epoch "e2"/g)
}), 'another epoch');
is(status('two'), 404, 'other service is gone');
is(status('one'), 200, 'its service');

# a broken line is refused alone, with its number

change(revision => 3, services => [ { name => 'one' } ],
    instances => [ $agent->instance('one', id => 'one.1') ],
    lines => [
        '{"kind":"service","service_id":"x","name":',
        '{"kind":"service","service_id":"y","name":"bad name!"}',
        '{"kind":"instance","instance_id":"i","service_id":"id-one",'
            . '"node":"n","address":"not an address","state":"running"}',
        '{"kind":"planet","name":"mars"}',
        '',
        '{"kind":"service","service_id":"z","name":"last",'
            . '"desired":"running","future":1}',
    ]);
ok($t->wait_for_revision(3), 'file with broken lines');
is(status('one'), 200, 'good lines are used');
is(status('last'), 503, 'also behind the broken ones');

my $log = $t->read_file('error.log');
like($log, qr/gateway\.state", line 4\b/, 'line 4 is named');
like($log, qr/gateway\.state", line 5\b.*bad name!/,
    'line 5, with its value');
like($log, qr/gateway\.state", line 6\b.*not an address/,
    'line 6, with its value');
like($log, qr/gateway\.state", line 7\b/, 'line 7');

# a file that is refused whole: the registry before stays

my $good = '{"kind":"service","service_id":"n","name":"new","tags":["x"]}'
    . "\n";
my $head = '{"corral":1,"epoch":"e","revision":9';

$t->write_file('gateway.state', "$head,\"lines\":2}\n$good");
ok($t->wait_for_log(qr/\[error\].*gateway\.state.*\n(.*\n)*.*gateway\.state/),
    'both workers refuse a file with fewer lines');
is(status('one'), 200, 'the registry before stays');
is(status('new'), 404, 'nothing of it is used');

# with the right checksum a file is taken

my $crc = sprintf '%08x', crc32($good);
$t->write_file('gateway.state', "$head,\"lines\":1,\"crc32\":\"$crc\"}\n$good");
ok(wait_for(sub { status('new') == 503 && status('new') == 503 }),
    'right crc32');

# other reasons, each at a start

refused('empty file', '');
refused('no JSON', "hello\n$good");
refused('another version', '{"corral":2,"epoch":"e","revision":9}' . "\n$good");
refused('no revision', '{"corral":1,"epoch":"e"}' . "\n$good");
refused('more lines', "$head,\"lines\":1}\n$good$good");
refused('wrong crc32', "$head,\"lines\":1,\"crc32\":\"00000001\"}\n$good");
refused('a directory', undef);

# no file at all: nginx starts, and serves as soon as there is one

$t->stop();
unlink $t->testdir() . '/gateway.state';
$t->run();
like(http_get('/agents/one/'), qr/ 503 .*"code":"registry_not_loaded"/s,
    'no file at the start');
like(http_get('/rules/'), qr/ 503 .*"code":"registry_not_loaded"/s,
    'rules that are not loaded');

$t->state_file(revision => 20, services => [ { name => 'one' } ],
    instances => [ $agent->instance('one', id => 'one.1') ]);
ok($t->wait_for_revision(20), 'file appears');
is(status('one'), 200, 'served again');
like(http_get('/rules/'), qr/ 404 .*"code":"service_not_named"/s,
    'no rule matches');

# new workers have it from their start on

ok($t->reload(), 'reload');
is(join(',', map { status('one') } 1 .. 6), join(',', (200) x 6),
    'known after a reload');

###############################################################################

sub change { $t->state_file(@_) }

sub refused {
    my ($name, $content) = @_;

    my $file = $t->testdir() . '/gateway.state';

    $t->stop();
    unlink $file;
    defined $content ? $t->write_file('gateway.state', $content) : mkdir $file;
    unlink $t->testdir() . '/error.log';
    $t->run();

    like(http_get('/agents/new/') . $t->read_file('error.log'),
        qr/"registry_not_loaded".*\[error\].*gateway\.state/s, $name);

    rmdir $file;
}

sub status {
    my ($service) = @_;
    return http_get("/agents/$service/") =~ m{^HTTP/1.1 (\d+)} ? $1 : 0;
}

###############################################################################
