"""Lists the container formats that are read: formats that hold their pictures themselves.

This is a list of allowed formats, not of refused ones. HLS and DASH playlists, `concat`, IMF, SDP
and scripts make FFmpeg open other files or addresses, also by absolute path, and show them as the
film; a later FFmpeg may have more such formats. Devices, texts and subtitles are not listed either.
MLV opens the other parts of a recording, whose names follow from its own.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any

import av

from .ffmpeg_log import ffmpeg_log
from .remote import av_source, open_bytes

# fmt: off
_FILMS = """
    asf asf_o avi cine dhav dv flv gxf hxvs ifv iv8 ivf ivr kux live_flv lmlm4 luodat lvf lxf
    matroska mlv mov mpeg mpegts mpegtsraw msnwctcp mtv mxf mxg nc nsv nut nuv ogg pmp pva r3d rm
    ser simbiosis_imx swf ty vivo wtv
"""
_RAW = """
    apv av1 avs2 avs3 bitpacked cavsvideo dirac dnxhd evc h261 h263 h264 hevc ingenient ipu m4v
    mjpeg mjpeg_2000 mpegvideo mpjpeg obu smjpeg v210 v210x vc1 vc1test vvc yuv4mpegpipe
"""
_GAMES = """
    3dostr 4xm anm argo_brp avs bethsoftvid bfi bink bmv c93 cdg cdxl dcstr dfa dsicin dxa ea
    ea_cdata film_cpk filmstrip flic frm gdv hnm idcin iff ipmovie jv mgsts mm mods moflex mv mvi
    paf pdv psxstr rl2 roq rpl sdr2 sga siff smk smush thp tiertexseq tmv txd usm vividas vmd
    wc3movie wsvqa xmv yop
"""
_PICTURES = """
    alias_pix apng brender_pix fits gif ico image2 jpegxl_anim bmp_pipe cri_pipe dds_pipe dpx_pipe
    exr_pipe gem_pipe gif_pipe hdr_pipe j2k_pipe jpeg_pipe jpegls_pipe jpegxl_pipe jpegxs_pipe
    pam_pipe pbm_pipe pcx_pipe pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe photocd_pipe
    pictor_pipe png_pipe ppm_pipe psd_pipe qdraw_pipe qoi_pipe sgi_pipe sunrast_pipe tiff_pipe
    vbn_pipe webp_pipe xbm_pipe xpm_pipe xwd_pipe
"""
_SOUNDS = """
    aa aac aax ac3 ac4 adx aiff amr amrnb amrwb ape au caf dsf dts dtshd eac3 flac iamf loas mlp
    mp3 mpc mpc8 oma qoa shn tak truehd tta voc w64 wav wv xwma
"""  # so that a song is a file without a film
# fmt: on
READ = frozenset(" ".join((_FILMS, _RAW, _GAMES, _PICTURES, _SOUNDS)).split())

# Without patterns, `frame%d.gif` is one file and not a sequence.
OPTIONS = {
    "format_whitelist": ",".join(sorted(READ)),
    # `subfile` shows a part of the one file that is opened.
    "protocol_whitelist": "file,subfile",
    "pattern_type": "none",
}
IMAGE_SEQUENCE = "image2, a row of pictures"
# FFmpeg takes such a name for an image sequence.
_PATTERN = re.compile(r"%(\d*d|[%*?\[\]{}])")

# First bytes of text files that FFmpeg takes for films, for some by their file name.
_TEXTS = {
    b"#EXTM3U": "hls",
    b"ffconcat": "concat",
    b"v=0": "sdp",
    b"<?xml": "XML, as DASH and IMF are",
    b"<MPD": "dash",
    b"<SMIL": "SMIL",
    b"[playlist]": "playlist",
    b"#~~~~": "playlist",
}


def refused_format(path: str) -> str:
    """Find the name of a file's format if it is not read, else empty.

    Call it after `av.open` failed; it opens the file again, with a log.
    """
    with open_bytes(path) as file:
        head = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, name in _TEXTS.items():
        if head[: len(mark)].lower() == mark.lower():
            return name
    return _on_no_list(path)


def is_image_sequence(container: Any, path: str) -> bool:
    """Tell whether FFmpeg takes the file name for an image sequence."""
    return container.format.name == "image2" and bool(_PATTERN.search(os.path.basename(path)))


def _on_no_list(path: str) -> str:
    """Read the name of the format that FFmpeg finds if it is not in `READ`."""
    with ffmpeg_log() as log, suppress(av.FFmpegError, ValueError, OverflowError):
        av.open(av_source(path, None), options=dict(OPTIONS)).close()
    return next((name for _, name, text in log if "not on whitelist" in text), "")
