#!/usr/bin/perl

# Tests for corral_redis when what answers is not a Redis, a broken one, or one
# that does not want us: the sentence in the log, and no harm.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# what connection number n gets for its n-th fault, and what the log says

my @faults = (
    [ INFO => "HTTP/1.1 400 Bad Request\r\n\r\n",
        qr/cannot be understood: Protocol error/, 'another protocol' ],
    [ PEXPIRE => ":1\r\n:1\r\n",
        qr/nobody asked for/, 'an answer too many' ],
    [ INFO => '+' . 'x' x 200000,
        qr/a line without an end/, 'an endless line' ],
    [ INFO => '$' . '1' x 200,
        qr/a line without an end/, 'an endless length' ],
    [ INFO => "*1048577\r\n",
        qr/an answer of too many elements/, 'too many elements' ],
    [ INFO => "*600000\r\n" x 2,
        qr/an answer of too many elements/, 'elements of elements' ],
    [ INFO => "*1\r\n" x 20 . ":1\r\n",
        qr/cannot be understood: .*nested/, 'too deep' ],
    [ INFO => \"\$100\r\nshort", qr/closed the connection/, 'cut short' ],
    [ INFO => "\$17\r\ncluster_enabled:1\r\n",
        qr/is a Redis Cluster, which is not supported/, 'Redis Cluster' ],
    [ MULTI => "-MOVED 1 127.0.0.1:1\r\n",
        qr/is a Redis Cluster, which is not supported/, 'MOVED' ],
    [ INFO => "-NOAUTH Authentication required.\r\n",
        qr/is not ready for us: NOAUTH/, 'no password' ],
    [ AUTH => "-WRONGPASS invalid username-password pair\r\n",
        qr/refused the user or the password: WRONGPASS/, 'wrong password' ],
    [ SELECT => "-ERR DB index is out of range\r\n",
        qr/refused the database: ERR/, 'wrong database' ],
    [ MULTI => "-NOPERM this user has no permissions\r\n",
        qr/refused to read the registry: NOPERM/, 'no permission' ],
    [ EXEC => "-LOADING Redis is loading the dataset\r\n",
        qr/refused to read the registry: LOADING/, 'loading' ],
    [ EXEC => "*3\r\n:1\r\n*0\r\n:7\r\n",
        qr/refused to read the registry/, 'an answer of another form' ],
);

my $t = Test::Corral->new()->has(qw/corral corral_redis/);

my $agent = $t->agent(id => 'one.1', port => 8081);

$t->state_file(services => [ { name => 'one' } ],
    instances => [ $agent->instance('one') ]);

$t->write_file_expand('nginx.conf', <<'EOT')->plan(@faults + 5);

%%TEST_GLOBALS%%

worker_processes  4;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_redis       redis://us%40er:se%3Acret@127.0.0.1:%%PORT_8379%%/3;
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

# Each fault is for the next connection that sends the command; after it, the
# connection hears nothing more, or commands behind it would take further ones.

my $dir = $t->testdir();
my $mute;

$t->run_daemon(\&Test::Corral::Store::fake, port(8379), sub {
    my ($n, $word, @args) = @_;

    open my $fh, '>>', "$dir/greeting";
    print $fh "$word @args\n" if $word =~ /^(AUTH|SELECT|CLIENT)$/;
    close $fh;

    return '' if $mute;

    for my $i (0 .. $#faults) {
        next if -e "$dir/fault.$i";

        last if $faults[$i][0] ne $word;

        open $fh, '>', "$dir/fault.$i";
        $mute = $word ne 'PEXPIRE';
        return $faults[$i][1];
    }

    return Test::Corral::Store::empty($word);
});

$t->waitforsocket(port(8379));
$t->run();

my %told;

for (@faults) {
    my (undef, undef, $re, $name) = @$_;
    my $times = ++$told{$re};

    ok(wait_for(sub {
        $times <= (() = $t->read_file('error.log') =~ /corral: Redis .*$re/g)
    }, 20), $name);
}

ok(wait_for(sub { $t->status()->{redis}{connected} }, 20),
    'connected after all of it');
like(http_get('/agents/one/'), qr/ 200 /, 'served from the state file');

my $greeting = $t->read_file('greeting');
like($greeting, qr/^AUTH us\@er se:cret$/m, 'user and password are decoded');
like($greeting, qr/^SELECT 3$/m, 'database');
unlike($t->read_file('error.log'), qr/cret/, 'no password in the log');

###############################################################################
