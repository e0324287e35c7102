// The slide itself: OpenSeadragon on tiles that the service draws.

const NEAREST = 40; // pixels of the screen for one of the slide, at most
const STEP = 1.6; // of a zoom by button or key

export class Viewer {
  /** In an element, of the slide with a number; `drawn` is called whenever it is drawn, `settled` when it comes to rest. */
  constructor(element, service, number, about, { drawn, settled, failed }) {
    this.about = about;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.view = OpenSeadragon({
      element,
      drawer: 'canvas',
      tileSources: {
        width: about.width,
        height: about.height,
        tileSize: about.tile,
        minLevel: 0,
        maxLevel: about.levels - 1,
        getTileUrl: (level, column, row) => `./v1/slides/${number}/image/${about.levels - 1 - level}/${row}/${column}`,
      },
      loadTilesWithAjax: true,
      ajaxHeaders: service.headers,
      tileRetryMax: 5,
      tileRetryDelay: 1000,
      imageLoaderLimit: 6,
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: 'TOP_RIGHT',
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      gestureSettingsMouse: { clickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsPen: { clickToZoom: false },
      animationTime: calm ? 0 : 0.5,
      maxZoomPixelRatio: NEAREST,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.3,
    });
    const { view } = this;
    const { canvas } = view;
    canvas.setAttribute('role', 'application');
    view.navigator.element.setAttribute('aria-hidden', 'true');
    for (const part of [view.navigator.element, ...view.navigator.element.querySelectorAll('[tabindex]')]) part.tabIndex = -1;
    this.map = Object.assign(document.createElement('canvas'), { id: 'map' });
    canvas.append(this.map);
    view.addHandler('canvas-key', (event) => { event.preventDefaultAction = true; }); // keys go from window to window here
    view.addHandler('update-viewport', () => {
      view.drawer.setImageSmoothingEnabled(this.place().zoom < 1); // from near, pixels are squares
      drawn();
    });
    view.addHandler('animation-finish', settled);
    view.addHandler('tile-load-failed', ({ message }) => failed(new Error(`a part of the slide cannot be fetched: ${message}`)));
    this.opened = new Promise((resolve) => view.addOnceHandler('open', resolve));
    this.opened.then(() => view.world.getItemAt(0).addHandler('fully-loaded-change', drawn));
  }

  /** Whether all of what is seen has come. */
  get complete() {
    return Boolean(this.view.world.getItemAt(0)?.getFullyLoaded());
  }

  /** Where the slide is on the screen: its corner, and pixels of the screen for one of its own. */
  place() {
    const { viewport } = this.view;
    const corner = viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const end = viewport.pixelFromPoint(new OpenSeadragon.Point(1, 0), true);
    return { left: corner.x, top: corner.y, zoom: (end.x - corner.x) / this.about.width };
  }

  /** The pixel of the slide at a place of the window of the browser; null outside it. */
  position({ clientX, clientY }) {
    const { left, top } = this.map.getBoundingClientRect();
    const place = this.place();
    const [x, y] = [(clientX - left - place.left) / place.zoom, (clientY - top - place.top) / place.zoom];
    return x >= 0 && y >= 0 && x < this.about.width && y < this.about.height ? [x, y] : null;
  }

  /** The pixel in the middle, and pixels of the screen for one of the slide, when the view has come to rest. */
  get target() {
    const { viewport } = this.view;
    const { x, y } = viewport.getCenter();
    return { x: x * this.about.width, y: y * this.about.width, zoom: viewport.viewportToImageZoom(viewport.getZoom()) };
  }

  /** Look at a pixel. */
  goTo({ x, y, zoom }, immediately = false) {
    const { viewport } = this.view;
    if (zoom) viewport.zoomTo(viewport.imageToViewportZoom(zoom), null, immediately);
    viewport.panTo(new OpenSeadragon.Point(x / this.about.width, y / this.about.width), immediately);
    viewport.applyConstraints(immediately);
  }

  /** Whether a box lies within what is seen. */
  sees({ left, top, width, height }) {
    const bounds = this.view.viewport.getBounds();
    const [x0, y0, x1, y1] = [bounds.x, bounds.y, bounds.x + bounds.width, bounds.y + bounds.height].map((edge) => edge * this.about.width);
    return left >= x0 && top >= y0 && left + width <= x1 && top + height <= y1;
  }

  nearer(steps = 1) {
    this.view.viewport.zoomBy(STEP ** steps);
    this.view.viewport.applyConstraints();
  }

  /** Move by shares of what is seen. */
  pan(across, down) {
    const { width, height } = this.view.viewport.getBounds();
    this.view.viewport.panBy(new OpenSeadragon.Point(across * width, down * height));
    this.view.viewport.applyConstraints();
  }

  whole() {
    this.view.viewport.goHome();
  }

  grey(on) {
    this.view.drawer.canvas.style.filter = on ? 'grayscale(1)' : '';
  }

  close() {
    this.view.destroy();
  }
}
