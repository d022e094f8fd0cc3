#!/usr/bin/perl

# Tests for the address of corral_redis: what is refused, with which sentence.

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

my @good = qw{
    unix:/run/redis.sock
    unix:/run/redis.sock?user=u&password=p%25%40&db=3
    redis://127.0.0.1
    redis://127.0.0.1:6380/0
    redis://:secret@127.0.0.1
    redis://user:p@ss:word@[::1]:6380/15
    redis://localhost/
};

my @bad = (
    [ 'http://127.0.0.1' => qr/is to be unix:.* or redis:/ ],
    [ 'rediss://127.0.0.1' => qr/TLS .*not supported yet/ ],
    [ 'sentinel://127.0.0.1/main' => qr/Sentinel .*not supported yet/ ],
    [ 'redis://127.0.0.1/x' => qr/invalid database "x".*0 to 65535/ ],
    [ 'redis://127.0.0.1/65536' => qr/invalid database "65536"/ ],
    [ 'redis://127.0.0.1:0' => qr/invalid port/ ],
    [ 'redis://127.0.0.1:65536' => qr/invalid port/ ],
    [ 'redis://user@127.0.0.1' => qr/names a user without a password/ ],
    [ 'redis://user:@127.0.0.1' => qr/names a user without a password/ ],
    [ 'redis://:a%2@127.0.0.1' => qr/two hexadecimal digits/ ],
    [ 'redis://:a%00b@127.0.0.1' => qr/two hexadecimal digits/ ],
    [ 'redis://:secret@' => qr/no host/ ],
    [ 'redis://*:6379' => qr/host not found/ ],
    [ 'redis://nowhere.invalid' => qr/host not found.*nowhere\.invalid/ ],
    [ 'unix:/a?pass=x' => qr/unknown parameter "pass".*user, password or db/ ],
    [ 'unix:/a?user=x' => qr/user of Redis needs a password/ ],
    [ 'unix:/' . 'a' x 120 => qr/too long path/ ],
);

my $t = Test::Corral->new()->has(qw/corral corral_redis/)
    ->plan(@good + 2 * @bad);

sub check {
    my ($url) = @_;

    return $t->test_config(<<EOC);
%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "$url";
}
EOC
}

for (@good) {
    my ($ok, $out) = check($_);
    ok($ok, "accepted: $_") or diag($out);
}

for (@bad) {
    my ($url, $re) = @$_;
    my ($ok, $out) = check($url);

    ok(!$ok, "refused: $url");
    like($out, qr/corral_redis: .*$re.* in .*:\d+/, 'with a reason and a line');
}

###############################################################################
